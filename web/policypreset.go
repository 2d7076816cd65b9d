package web

// preset is what holds where no rule matches, by a name.
type preset struct {
	Name  string
	ports []string // nil: as the program comes
	never []string // nil: as the program comes
	deny  bool
}

// presets lists them, the one that the program comes with first.
func presets() []preset {
	return []preset{
		{Name: "high"},
		{Name: "web", ports: []string{"80", "443", "1024-65535"}},
		// Of the ports below 1024 these are never meant: file transfer and terminals without encryption, Windows' shares.
		{Name: "everything", ports: []string{"1-65535"}, never: []string{"21", "23", "135", "137-139", "445", "3389"}},
		{Name: "nothing", deny: true},
	}
}

// PresetNames returns the names that [PolicySettings.Preset] knows.
func PresetNames() (names []string) {
	for _, p := range presets() {
		names = append(names, p.Name)
	}
	return names
}

// Preset sets what holds where no rule matches to what goes by a name, and tells whether there is such a one.
func (s *PolicySettings) Preset(name string) bool {
	for _, p := range presets() {
		if p.Name != name {
			continue
		}
		s.Ports, s.Never, s.Default = p.ports, p.never, ""
		if p.deny {
			s.Default = "deny"
		}
		return true
	}
	return false
}
