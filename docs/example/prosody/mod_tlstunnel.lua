-- Lets Prosody believe tlstunnel, which has verified a certificate, as whom somebody logs in.
--     plugin_paths = { "/usr/local/lib/prosody" }            -- where this file is
--     modules_enabled = { ..., "tlstunnel" }
--     c2s_ports = { 5222, 15222 }; s2s_ports = { 5269, 15269 }
--     tlstunnel_ports = { 15222, 15269 }                     -- for the tunnel, and nobody else
--     tlstunnel_addresses = { "127.0.0.1", "::1" }           -- whence it connects
-- Whoever reaches these ports from these addresses is believed: let nobody but the tunnel.

local base64 = require "util.encodings".base64;
local jid_prepped_split = require "util.jid".prepped_split;
local sessions = require "core.sessionmanager";
local st = require "util.stanza";
local users = require "core.usermanager";

local SASL = "urn:ietf:params:xml:ns:xmpp-sasl";
local ports = module:get_option_set("tlstunnel_ports", {});
local addresses = module:get_option_set("tlstunnel_addresses", { "127.0.0.1", "::1" });

local function is_tunnel(session)
	local conn = session.conn;
	return conn and not conn:ssl() and ports:contains(tonumber(conn:serverport()))
		and addresses:contains(conn:ip());
end

local function fail(session, condition)
	session.send(st.stanza("failure", { xmlns = SASL }):tag(condition):up());
	return true;
end

-- Clients: what the tunnel says is a bare JID of this host (RFC 6120, section 6.3.8).
module:hook("stream-features", function (event)
	local session, features = event.origin, event.features;
	if session.type ~= "c2s_unauthed" or not is_tunnel(session) then return; end
	session.secure = true; -- between the client and the tunnel
	features:tag("mechanisms", { xmlns = SASL }):tag("mechanism"):text("EXTERNAL"):up():up();
	return true;
end, 1000);

module:hook("stanza/"..SASL..":auth", function (event)
	local session, stanza = event.origin, event.stanza;
	if session.type ~= "c2s_unauthed" or not is_tunnel(session) then return; end
	if stanza.attr.mechanism ~= "EXTERNAL" then return fail(session, "invalid-mechanism"); end
	local name, host, resource = jid_prepped_split(base64.decode(stanza:get_text() or "") or "");
	if not name or host ~= module.host or resource then return fail(session, "invalid-authzid"); end
	if not users.user_exists(name, host) or not sessions.make_authenticated(session, name) then
		return fail(session, "not-authorized");
	end
	module:fire_event("authentication-success", { session = session });
	session:reset_stream();
	session.send(st.stanza("success", { xmlns = SASL }));
	return true;
end, 1000);

-- Servers: mod_saslauth offers EXTERNAL itself, and takes it for the domain of the stream alone.
module:hook("s2s-stream-features", function (event)
	local session = event.origin;
	if session.type ~= "s2sin_unauthed" or not is_tunnel(session) then return; end
	session.secure, session.cert_chain_status, session.cert_identity_status = true, "valid", "valid";
end, 1000);
