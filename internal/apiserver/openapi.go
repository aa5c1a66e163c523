package apiserver

func (s *Server) openapi(c *call) error { notFoundPage(c); return nil }
