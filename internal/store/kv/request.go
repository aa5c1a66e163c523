package kv

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// PutRequest is the one transaction of [Backend.Put]: write if the key's last
// write is expect, else tell what it is.
func PutRequest(key string, value []byte, expect int64) *pb.TxnRequest {
	k := []byte(key)
	return &pb.TxnRequest{
		Compare: at(k, expect),
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: k, Value: value}}}},
		Failure: current(k),
	}
}

// DeleteRequest is the one transaction of [Backend.Delete].
func DeleteRequest(key string, expect int64) *pb.TxnRequest {
	k := []byte(key)
	txn := &pb.TxnRequest{
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: k}}}},
		Failure: current(k),
	}
	if expect == Any {
		txn.Compare = []*pb.Compare{{
			Key: k, Target: pb.Compare_MOD, Result: pb.Compare_GREATER,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: 0},
		}}
	} else {
		txn.Compare = at(k, expect)
	}
	return txn
}

func at(key []byte, revision int64) []*pb.Compare {
	return []*pb.Compare{{
		Key: key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_ModRevision{ModRevision: revision},
	}}
}

func current(key []byte) []*pb.RequestOp {
	return []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key, KeysOnly: true}}}}
}

// ResultOf reads the answer to either request.
func ResultOf(resp *pb.TxnResponse) Result {
	r := Result{OK: resp.Succeeded, Revision: resp.Header.Revision}
	if !r.OK {
		if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			r.Current = kvs[0].ModRevision
		}
	}
	return r
}
