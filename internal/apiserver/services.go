package apiserver

type services struct{}

func (s *Server) allocateServices() error { return nil }
