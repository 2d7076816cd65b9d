package lease

// riskyServices are what attackers look for first, by port, in order.
func riskyServices() []riskyService {
	return []riskyService{
		{20, "FTP"},
		{21, "FTP"},
		{22, "SSH"},
		{23, "Telnet"},
		{25, "SMTP"},
		{53, "DNS"},
		{69, "TFTP"},
		{80, "HTTP"},
		{110, "POP3"},
		{111, "RPC"},
		{123, "NTP"},
		{135, "RPC"},
		{137, "NetBIOS"},
		{138, "NetBIOS"},
		{139, "NetBIOS"},
		{143, "IMAP"},
		{161, "SNMP"},
		{389, "LDAP"},
		{443, "HTTPS"},
		{445, "SMB"},
		{548, "AFP"},
		{554, "RTSP"},
		{873, "rsync"},
		{1080, "SOCKS"},
		{1433, "SQL Server"},
		{1723, "PPTP"},
		{1883, "MQTT"},
		{1900, "SSDP"},
		{2049, "NFS"},
		{2375, "Docker"},
		{3128, "HTTP proxy"},
		{3306, "MySQL"},
		{3389, "RDP"},
		{5000, "UPnP/NAS"},
		{5060, "SIP"},
		{5432, "PostgreSQL"},
		{5555, "ADB"},
		{5900, "VNC"},
		{5985, "WinRM"},
		{6379, "Redis"},
		{7547, "TR-069"},
		{8000, "HTTP"},
		{8080, "HTTP"},
		{8443, "HTTPS"},
		{8883, "MQTT"},
		{9100, "Printer"},
		{9200, "Elasticsearch"},
		{27017, "MongoDB"},
	}
}

type riskyService struct {
	port uint16
	name string
}

// RiskyService names the first of the services that attackers look for at count ports from first on; "" if there is none.
func RiskyService(first uint16, count int) string {
	for _, s := range riskyServices() {
		if p := int(s.port); p >= int(first) && p < int(first)+count {
			return s.name
		}
	}
	return ""
}
