package igd

import "encoding/xml"

// The descriptions as XML. The order of fields is that of the schemas, which some clients rely on. Lists that may be
// empty are behind pointers: an empty list of allowed values would allow none.

// rootXML is a device description (UDA 1.1, section 2.3). There is no URLBase: all URLs are relative to where
// the document came from, so that it is right on every LAN.
type rootXML struct {
	XMLName     xml.Name   `xml:"root"`
	Namespace   string     `xml:"xmlns,attr"`
	ConfigID    uint32     `xml:"configId,attr"`
	SpecVersion versionXML `xml:"specVersion"`
	Device      deviceXML  `xml:"device"`
}

type versionXML struct {
	Major int `xml:"major"`
	Minor int `xml:"minor"`
}

type deviceXML struct {
	DeviceType       string       `xml:"deviceType"`
	FriendlyName     string       `xml:"friendlyName"`
	Manufacturer     string       `xml:"manufacturer"`
	ManufacturerURL  string       `xml:"manufacturerURL"`
	ModelDescription string       `xml:"modelDescription"`
	ModelName        string       `xml:"modelName"`
	ModelNumber      string       `xml:"modelNumber,omitempty"`
	ModelURL         string       `xml:"modelURL"`
	SerialNumber     string       `xml:"serialNumber,omitempty"`
	UDN              string       `xml:"UDN"`
	Icons            *iconsXML    `xml:"iconList"`
	Services         []serviceXML `xml:"serviceList>service"`
	Devices          *devicesXML  `xml:"deviceList"`
	PresentationURL  string       `xml:"presentationURL,omitempty"`
}

type iconsXML struct {
	Icons []iconXML `xml:"icon"`
}

type iconXML struct {
	Type   string `xml:"mimetype"`
	Width  int    `xml:"width"`
	Height int    `xml:"height"`
	Depth  int    `xml:"depth"`
	URL    string `xml:"url"`
}

type devicesXML struct {
	Devices []deviceXML `xml:"device"`
}

type serviceXML struct {
	ServiceType string `xml:"serviceType"`
	ServiceID   string `xml:"serviceId"`
	SCPDURL     string `xml:"SCPDURL"`
	ControlURL  string `xml:"controlURL"`
	EventSubURL string `xml:"eventSubURL"`
}

// scpdXML is a service description (UDA 1.1, section 2.5).
type scpdXML struct {
	XMLName     xml.Name      `xml:"scpd"`
	Namespace   string        `xml:"xmlns,attr"`
	ConfigID    uint32        `xml:"configId,attr"`
	SpecVersion versionXML    `xml:"specVersion"`
	Actions     []actionXML   `xml:"actionList>action"`
	Variables   []variableXML `xml:"serviceStateTable>stateVariable"`
}

type actionXML struct {
	Name      string        `xml:"name"`
	Arguments *argumentsXML `xml:"argumentList"`
}

type argumentsXML struct {
	Arguments []argumentXML `xml:"argument"`
}

type argumentXML struct {
	Name      string `xml:"name"`
	Direction string `xml:"direction"`
	Variable  string `xml:"relatedStateVariable"`
}

type variableXML struct {
	SendEvents string      `xml:"sendEvents,attr"`
	Name       string      `xml:"name"`
	DataType   dataType    `xml:"dataType"`
	Allowed    *allowedXML `xml:"allowedValueList"`
	Range      *rangeXML   `xml:"allowedValueRange"`
}

type allowedXML struct {
	Values []string `xml:"allowedValue"`
}

type rangeXML struct {
	Minimum uint32 `xml:"minimum"`
	Maximum uint32 `xml:"maximum"`
}

// encodeXML writes a description. The types above hold nothing that could fail to be encoded.
func encodeXML(document any) []byte {
	b, err := xml.MarshalIndent(document, "", " ")
	if err != nil {
		panic("igd: encode description: " + err.Error())
	}
	return append(append([]byte(`<?xml version="1.0"?>`+"\n"), b...), '\n')
}
