// Package docs holds the description of the API, which is for people and is served by the program as well.
package docs

import _ "embed" // for the file

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI returns openapi.yaml. It must not be changed.
func OpenAPI() []byte { return openAPI }
