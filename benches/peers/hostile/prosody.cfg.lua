-- Prosody under attack: Debian's configuration (modules, limits, log), for clients alone.
-- @DIR@, @PORT@ and @TLS_PORT@ are put in by hostile.sh.
pidfile = "@DIR@/prosody.pid"
data_path = "@DIR@/data"
log = { info = "@DIR@/prosody.log", error = "@DIR@/prosody.err" }
admin_socket = "@DIR@/prosody.sock"

interfaces = { "127.0.0.1" }
local_interfaces = { "127.0.0.1" }
c2s_ports = { @PORT@ }
c2s_direct_tls_ports = { @TLS_PORT@ }
s2s_ports = {}
s2s_direct_tls_ports = {}
http_ports = {}
https_ports = {}

modules_enabled = {
	"disco", "roster", "saslauth", "tls", "blocklist", "bookmarks", "carbons", "limits", "pep", "private", "smacks",
	"vcard4", "vcard_legacy", "csi_simple", "ping", "register", "time", "uptime", "version", "admin_adhoc", "admin_shell",
}
modules_disabled = { "s2s" }

limits = { c2s = { rate = "10kb/s" } }
authentication = "internal_hashed"

ssl = {
	key = "@DIR@/key.pem",
	certificate = "@DIR@/cert.pem",
}

VirtualHost "localhost"
