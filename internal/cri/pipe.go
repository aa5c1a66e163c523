package cri

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

var errOneWay = errors.New("stream goes one way")

// pipe is both ends of a server stream inside one process.
type pipe[T any] struct {
	ctx context.Context
	ch  chan *T
	err error // set before ch is closed
}

// stream runs a streaming call in a goroutine of its own and returns the client's end.
func stream[In, T any](ctx context.Context, in *In, call func(*In, grpc.ServerStreamingServer[T]) error) (grpc.ServerStreamingClient[T], error) {
	p := &pipe[T]{ctx: ctx, ch: make(chan *T, 16)}
	go func() {
		p.err = call(in, (*pipeServer[T])(p))
		close(p.ch)
	}()
	return (*pipeClient[T])(p), nil
}

type pipeServer[T any] pipe[T]

func (p *pipeServer[T]) Send(m *T) error {
	select {
	case p.ch <- m:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}
func (p *pipeServer[T]) Context() context.Context     { return p.ctx }
func (p *pipeServer[T]) SetHeader(metadata.MD) error  { return nil }
func (p *pipeServer[T]) SendHeader(metadata.MD) error { return nil }
func (p *pipeServer[T]) SetTrailer(metadata.MD)       {}
func (p *pipeServer[T]) SendMsg(m any) error          { return p.Send(m.(*T)) }
func (p *pipeServer[T]) RecvMsg(any) error            { return errOneWay }

type pipeClient[T any] pipe[T]

func (p *pipeClient[T]) Recv() (*T, error) {
	m, ok := <-p.ch
	if ok {
		return m, nil
	}
	if p.err != nil {
		return nil, p.err
	}
	return nil, io.EOF
}
func (p *pipeClient[T]) Context() context.Context     { return p.ctx }
func (p *pipeClient[T]) Header() (metadata.MD, error) { return nil, nil }
func (p *pipeClient[T]) Trailer() metadata.MD         { return nil }
func (p *pipeClient[T]) CloseSend() error             { return nil }
func (p *pipeClient[T]) SendMsg(any) error            { return errOneWay }
func (p *pipeClient[T]) RecvMsg(any) error            { return errOneWay }
