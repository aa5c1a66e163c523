package docker

import (
	"io"
	"net/http"
	"path/filepath"

	"nau/internal/docker/buildkit"
	"nau/internal/engine/sandbox"
)

// openBuildKit makes what speaks BuildKit's protocol for the builder.
func (s *Server) openBuildKit() (err error) {
	gateway := func() string {
		if n := s.defaultNetwork(); n != nil {
			if a := n.gateway(false); a.IsValid() {
				return a.String()
			}
		}
		return ""
	}
	s.buildkit, err = buildkit.New(buildkit.Config{Builder: s.builder, Images: s.e.Images, Dir: filepath.Join(s.e.Config().DataDir, "build", "history"), Version: s.cfg.Version, Gateway: gateway, Log: s.log, Built: s.built,
		Hosts: func(list []string) ([]sandbox.HostAlias, error) {
			n := s.defaultNetwork()
			if n == nil {
				n = &net_{}
			}
			return extraHosts(list, n.gateway(false))
		}})
	return err
}

// postGRPC answers POST /grpc: from here on the connection speaks HTTP/2 with BuildKit's services.
func (s *Server) postGRPC(c *call) error {
	if err := wantsH2C(c); err != nil {
		return err
	}
	conn, rw, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		return fail(http.StatusInternalServerError, "take over connection: %v", err)
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"); err != nil {
		conn.Close()
		return nil
	}
	s.buildkit.Serve(s.life, conn, rw.Reader)
	return nil
}

// postSession answers POST /session: from here on the client serves what its builds ask for.
func (s *Server) postSession(c *call) error {
	if err := wantsH2C(c); err != nil {
		return err
	}
	if err := s.buildkit.Session(s.life, c.w, c.Request); err != nil {
		s.log.Debug("session of a build ended", "error", err)
	}
	return nil
}

// wantsH2C refuses a request that asks for no change of protocol, or for another one.
func wantsH2C(c *call) error {
	switch proto := c.Header.Get("Upgrade"); proto {
	case "h2c":
		return nil
	case "":
		return badRequest("no upgrade proto in request")
	default:
		return badRequest("protocol %s not supported: h2c is", proto)
	}
}
