package igd

import "context"

const pppConnection = "WANPPPConnection"

// wanPPPConnection is WANPPPConnection:1: the same connection with the same mappings under another name, for the clients that
// know it by that. What is of the line's dialling is the router's business, but for its rates.
func (s *Server) wanPPPConnection(igd int) *service {
	up, down := argument{"NewUpstreamMaxBitRate", "UpstreamMaxBitRate"}, argument{"NewDownstreamMaxBitRate", "DownstreamMaxBitRate"}
	rates := action{
		name: "GetLinkLayerMaxBitRates", since: 1, out: []argument{up, down},
		run: func(_ context.Context, c *call) (results, error) {
			w := s.outside.State(c.client)
			return results{saturate(w.UpstreamRate), saturate(w.DownstreamRate)}, nil
		},
	}
	p := s.connectionService(igd)
	p.name, p.id, p.path, p.highest, p.described, p.extra = pppConnection, "WANPPPConn1", "PPPConn", 1, 1, forDialling
	p.variables = append(p.variables, variable{name: up.variable, kind: typeUI4, since: 1}, variable{name: down.variable, kind: typeUI4, since: 1})
	p.actions = append(p.actions, rates)
	p.optional = append(p.optional,
		"ConfigureConnection", "GetPPPEncryptionProtocol", "GetPPPCompressionProtocol", "GetPPPAuthenticationProtocol",
		"GetUserName", "GetPassword")
	return p
}
