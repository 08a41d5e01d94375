-- Prosody for comparison: what a session needs and nothing else, no limits, no archive.
-- @DIR@, @PORT@ and @TLS_PORT@ are put in by compare.sh.
pidfile = "@DIR@/prosody.pid"
data_path = "@DIR@/data"
plugin_paths = {}
log = { error = "@DIR@/prosody.err" }

network_backend = "epoll"
interfaces = { "127.0.0.1" }
local_interfaces = { "127.0.0.1" }
c2s_ports = { @PORT@ }
c2s_direct_tls_ports = { @TLS_PORT@ }
s2s_ports = {}
s2s_direct_tls_ports = {}
http_ports = {}
https_ports = {}

modules_enabled = {
	"roster", "saslauth", "tls", "disco", "ping", "version", "time", "vcard_legacy", "register_ibr",
	"admin_shell",
}
modules_disabled = { "s2s" }
admin_socket = "@DIR@/prosody.sock"

storage = "internal"
authentication = "internal_hashed" -- SCRAM-SHA-1, 10,000 iterations
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
allow_registration = true
tls_session_resumption = false

ssl = {
	key = "@DIR@/key.pem",
	certificate = "@DIR@/cert.pem",
}

VirtualHost "localhost"
