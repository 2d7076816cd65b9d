package web

// core returns a text of the core in the language of the catalogue, and the text itself where there is none.
func (c catalogue) core(text string) string { return text }
