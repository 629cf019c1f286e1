#!/usr/bin/env bash
# What is refused is refused at once, with a sentence that says what to do and the exit status that scripts rely on:
# 2 usage or configuration, 3 refused, 4 not found.
. "$(dirname "$0")/lib.sh"
begin "$@"

foreign() { "$bun" "$here/foreign/$1.ts" "${@:2}"; }

# refused WHAT STATUS PATTERN PROGRAM...: it ends with the status, and its words hold the pattern.
refused() {
  local what=$1 expected=$2 pattern=$3 name
  name=${what// /-}
  shift 3
  start "$name" "$@"
  exit_status "$name" 20
  equal "$what: exit status $expected" "$status" "$expected"
  if says "$name" "$pattern"; then
    ok "$what: \"$(grep -Eih -m1 -- "$pattern" "$dir/$name.log" "$dir/$name.out" | head -n1 | sed 's/^ *//')\""
  else
    fail "$what: the message holds /$pattern/"
  fi
  if grep -Eq '^ +at .*:[0-9]+' "$dir/$name.log"; then fail "$what: no stack trace is shown"; fi
}

# agent STATE_DIR OPTION...: the words of a forwarding agent.
agent() {
  echo "$bin/adit-agent" forward --intermediate 127.0.0.1:4433 --bind "$agent_ip" --admin 127.0.0.1:0 --state-dir "$dir/$1" "${@:2}"
}

start_intermediate
start_service "$(make_file served 100000)"
start_connector "$(agent_id)" --expose closed=tcp://127.0.0.1:9

# shellcheck disable=SC2046 # words
{
  refused "unknown name" 4 nobody $(agent agent --to nobody --wait 1s --local 127.0.0.2:0=web)
  refused "peer not allowed" 3 "not allowed|allow" $(agent stranger --to office --local 127.0.0.2:0=web)
}
# Nobody has to knock: the offer names the service, and is refused.
# shellcheck disable=SC2046
refused "unknown service" 3 "service.*nosuch|nosuch.*service|nosuch.*refus|refus.*nosuch" $(agent agent --to office --local 127.0.0.2:9002=nosuch)
if says connector relay-permission-refused; then fail "the connector does not warn of a relay that is not wanted any more"; fi

# A service that is not there today may be there tomorrow: the connection is reset, the agent stays.
start_agent --local 127.0.0.2:9001=closed
start_tool closed get --url http://127.0.0.2:9001/hello --connect-for 10000 --timeout 10000
exit_status closed 15
equal "service port closed: the client's connection fails" "$status" 1
check "service port closed: at once, not by a timeout" grep -Eq 'ended before|reset|ECONNRESET|broke|hang up' "$dir/closed.out"
check "service port closed: the agent's log names the service and why" grep -Eiq 'closed.*(refus|unavailable|connect)' "$dir/agent.log"
start_tool open get --url "http://$local_address/hello"
exit_status open 10
equal "service port closed: the agent's other service is served" "$status" 0
stop agent INT
equal "service port closed: the agent stays until it is told to end: exit status 0" "$status" 0

# Another key behind the name.
stop connector TERM
wait_status "http://$intermediate_admin/status" 5000 registrations.length registrations.length=0 >/dev/null
mv "$dir/connector" "$dir/connector-before"
# The name belongs to the key that took it first, until the operator releases it.
start usurper "$bin/adit-connector" --intermediate "$intermediate_address" --name office --expose "web=tcp://$service_address" \
  --bind "$connector_ip" --admin "$connector_admin" --state-dir "$dir/connector" --log json
tool wait --log "$dir/usurper.log" --where event=register-refused --where code=name-taken --timeout 10000 >/dev/null
ok "changed key behind a name: the name stays with its first key"
stop usurper TERM
check "changed key behind a name: the operator releases it" \
  "$bin/adit-intermediate" names release office --state-dir "$dir/intermediate"
start_connector "$(agent_id)"
# shellcheck disable=SC2046
refused "changed key behind a name" 3 "office.*(key|changed|identity|PeerId)|(key|changed|identity).*office" \
  $(agent agent --to office --local 127.0.0.2:0=web)
check "changed key behind a name: it says how to accept the change" says changed-key-behind-a-name "adit-agent forget office"
check "changed key behind a name: that works" "$bin/adit-agent" forget office --state-dir "$dir/agent"
start_agent
start_tool accepted get --url "http://$local_address/hello" --connect-for 10000
exit_status accepted 15
equal "changed key behind a name: accepted, it serves" "$status" 0
stop agent INT
stop connector TERM

# Another key at the intermediate's address.
stop intermediate TERM
mv "$dir/intermediate" "$dir/intermediate-before"
start_intermediate
# shellcheck disable=SC2046
refused "changed intermediate key" 3 "intermediate.*(key|changed|identity|PeerId)|(key|changed|identity).*intermediate" \
  $(agent agent --to office --local 127.0.0.2:0=web)
check "changed intermediate key: it says how to accept the change" says changed-intermediate-key "adit-agent forget 127.0.0.1:4433"
refused "changed intermediate key for a connector" 3 "intermediate.*(key|changed|identity|PeerId)|(key|changed|identity).*intermediate" \
  "$bin/adit-connector" --intermediate 127.0.0.1:4433 --name office --expose web=tcp://127.0.0.1:8080 --bind "$connector_ip" \
  --admin 127.0.0.1:0 --state-dir "$dir/connector-before"

# Another protocol version: a client of tomorrow at our intermediate, then our agent at an intermediate of tomorrow.
start future "$bun" "$here/foreign/future-client.ts" 127.0.0.1:4433
exit_status future 15
equal "wrong protocol version: the intermediate answers and closes" "$status" 0
equal "wrong protocol version: with the error" "$(tool wait --log "$dir/future.out" --where event=error --print code)" unsupported-version
tool wait --log "$dir/future.out" --where event=closed >/dev/null || fail "wrong protocol version: and the connection is closed"
ok "wrong protocol version: \"$(tool wait --log "$dir/future.out" --where event=error --print message)\""
start future-intermediate "$bun" "$here/foreign/future-intermediate.ts" 127.0.0.1:4434
tool wait --log "$dir/future-intermediate.out" --where event=listening >/dev/null
# shellcheck disable=SC2046
refused "wrong protocol version of the intermediate" 3 version \
  "$bin/adit-agent" forward --intermediate 127.0.0.1:4434 --bind "$agent_ip" --admin 127.0.0.1:0 --state-dir "$dir/agent" \
  --to office --local 127.0.0.2:0=web

# Options and files that make no sense.
refused "occupied address" 2 "4433.*(use|occupied)|(use|occupied).*4433" \
  "$bin/adit-intermediate" --listen 127.0.0.1:4433 --stun 127.0.0.1:3479 --admin 127.0.0.1:0 --state-dir "$dir/another"
# shellcheck disable=SC2046
refused "senseless option" 2 "wait.*soon|soon.*wait" $(agent agent --to office --wait soon --local 127.0.0.2:0=web)
echo 'intermediat = "127.0.0.1:4433"' >"$dir/typo.toml"
# shellcheck disable=SC2046
refused "unknown key in a configuration file" 2 "intermediat\b" $(agent agent --config "$dir/typo.toml" --to office --local 127.0.0.2:0=web)
chmod -R go+r "$dir/stranger"
# shellcheck disable=SC2046
refused "key file that others can read" 2 "permission|readable|chmod|mode" $(agent stranger --to office --local 127.0.0.2:0=web)
tool wait --url "http://$intermediate_admin/healthz" --timeout 0 >/dev/null || fail "the intermediate is well after all this"
ok "the intermediate is well after all this"
