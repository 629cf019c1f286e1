#!/usr/bin/env bash
# npm run demo: the three programs on one machine, and one download that outlives the direct path it runs on.
# Exit status 0 means that all of it went well. Needs no root; without a namespace of its own it cannot cut the path, and says so.
. "$(dirname "$0")/lib.sh"

size=100000000
rate=10000000 # bytes/s: 10 s of download, so that there is something to be seen
problems=()
cutting=yes

main() {
  prepare_network "$@"
  begin_run
  introduce
  start_programs
  first_direct
  if [ "$cutting" = yes ]; then cut_and_mend; fi
  until_the_end
  one_more_request
  summary
  end_programs
  verdict
}

# --- the network -----------------------------------------------------------------------------------------------------

prepare_network() {
  if [ "${ADIT_E2E_NAMESPACE:-}" != entered ]; then
    local command
    if ! command -v ip >/dev/null; then
      skip_cut "\`ip\` is missing; it comes with:   apt-get install iproute2"
    elif ! command=$(namespace_command); then
      skip_cut "no network namespace can be made"
      namespace_help
    else
      # shellcheck disable=SC2086 # two words
      ADIT_E2E_NAMESPACE=entered exec $command bash "$0" "$@"
    fi
    choose_ports
  else
    ip link set lo up
    if ! can_cut; then
      skip_cut "nft does not work here"
      cut_help
    fi
  fi
}

skip_cut() {
  cutting=no
  echo "SKIPPED: cut ($1). The direct path cannot be cut without it; everything else is shown." >&2
}

# Not alone in this network: ports that are free.
choose_ports() {
  intermediate_address=127.0.0.1:$(tool free-port)
  stun_address=127.0.0.1:$(tool free-port)
  intermediate_admin=127.0.0.1:$(tool free-port)
  connector_admin=127.0.0.1:$(tool free-port)
  agent_admin=127.0.0.1:$(tool free-port)
  service_address=127.0.0.1:$(tool free-port)
  local_address=127.0.0.2:$(tool free-port)
}

# --- words -----------------------------------------------------------------------------------------------------------

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
  bold='' dim='' red='' green='' plain=''
fi

# at EPOCH_MS STYLE TEXT [NOTE]: one line of the timeline. Time 0 is when the agent's listener took the connection.
at() {
  local ms=$((${1%.*} - zero))
  printf '%5d.%03d s  %s%s%s' $((ms / 1000)) $((ms % 1000)) "$2" "$3" "$plain"
  if [ "$#" -gt 3 ]; then printf '%*s%s%s%s' $((66 - ${#3})) '' "$dim" "$4" "$plain"; fi
  echo
}

# wrong unless the command succeeds: expect TEXT COMMAND...
expect() {
  local text=$1
  shift
  "$@" || problems+=("$text")
}

megabytes() { awk -v bytes="$1" 'BEGIN { printf "%.1f MB", bytes / 1e6 }'; }

introduce() {
  cat <<TEXT
${bold}Adit: three programs, one download, and a direct path that dies on the way${plain}

  intermediate  ${intermediate_address%:*}   introduces the two, and relays for them
  connector     $connector_ip   exposes "web", an HTTP server on $service_address
  agent         $agent_ip   $local_address leads to "web"
  service       serves one file of $(megabytes $size) at $(megabytes $rate)/s

TEXT
}

# --- what happens ----------------------------------------------------------------------------------------------------

start_programs() {
  file=$(make_file served "$size")
  start_intermediate
  start_service "$file" "$rate"
  start_connector "$(agent_id)"
  # The client knocks until the agent listens, so that its request is there before the session is.
  start_tool download get --url "http://$local_address/file" --connect-for 15000 --timeout 120000
  start_agent
}

first_direct() {
  zero=$(from_log download 15000 time event=connected)
  zero=${zero%.*}
  at "$zero" "" "the agent takes the client's connection"
  local first_byte started began why changed pair
  read -r first_byte first_byte_ms < <(from_log download 15000 time,afterMs event=first-byte)
  IFS=$'\t' read -r started began why < <(from_log agent 1000 time,path,reason event=session-start)
  if [ "$began" = direct ]; then
    changed=$started
  else
    read -r changed switch_packets_ms < <(from_log agent 15000 time,gapMs event=path-changed to=direct)
  fi
  changed=$(epoch_of "$changed")
  switched_at=$changed
  direct_ms=$((changed - zero))
  if [ "${first_byte%.*}" -le "$changed" ]; then route="over the relay"; else route="direct"; fi
  # Where the programs wait for a processor the direct path may be there before the first byte, or before the relay has said anything.
  if [ "$began" != relay ]; then
    expect "the session began over the relay, or it was silent: $why" [ "${why#*was silent for too long}" != "$why" ]
  fi
  pair=$(wait_agent 5000 sessions.0.local,sessions.0.remote sessions.0.path=direct)
  if [ "$route" = direct ]; then first_direct_line; fi
  at "$first_byte" "" "first response byte, $route" "after $first_byte_ms ms"
  if [ "$route" != direct ]; then first_direct_line; fi
}

first_direct_line() { at "$switched_at" "$bold" "direct: ${pair/$'\t'/ <-> }" "after $direct_ms ms"; }

cut_and_mend() {
  local now back_at back
  from_log download 30000 bytes event=progress "bytes>=20000000" >/dev/null
  cut_at=$(now_ms)
  cut_path
  at "$cut_at" "$bold" "cut: no UDP passes between $agent_ip and $connector_ip any more"
  back_at=$(tool wait --log "$dir/agent.log" --since "$cut_at" --where event=path-changed --where to=relay --timeout 10000 --print time)
  back=$(epoch_of "$back_at")
  back_ms=$((back - cut_at))
  at "$back" "" "back on the relay" "$back_ms ms after the cut"
  now=$(from_log download 30000 bytes event=progress "bytes>=40000000")
  at "$(now_ms)" "" "the download goes on, on the same TCP connection: $(megabytes "$now")" "$(swallowed) packets swallowed"
  expect "the cut swallowed packets" [ "$(swallowed)" -gt 0 ]
  mended=$(now_ms)
  mend_path
  at "$mended" "$bold" mended
}

# Direct again, and the download's end, in whichever order they come: with enough else to do for the machine it is the other one.
until_the_end() {
  local left=(download)
  if [ "$cutting" = yes ]; then
    left+=(again)
    start_tool again wait --log "$dir/agent.log" --since "$mended" --where event=path-changed --where to=direct --timeout 40000 --print time
  fi
  while [ "${#left[@]}" -gt 0 ]; do
    local name still=()
    for name in "${left[@]}"; do
      if running "$name"; then still+=("$name"); else "end_of_$name"; fi
    done
    left=("${still[@]}")
    pause 0.02
  done
}

end_of_again() {
  exit_status again
  expect "the session is direct again" [ "$status" = 0 ]
  if [ "$status" != 0 ]; then return; fi
  local again
  again=$(epoch_of "$(<"$dir/again.out")")
  again_ms=$((again - mended))
  at "$again" "$bold" "direct again" "$again_ms ms after mending"
}

end_of_download() {
  exit_status download
  expect "the download is complete" [ "$status" = 0 ]
  read -r done_at bytes arrived < <(from_log download 1000 time,bytes,sha256 event=done)
  at "$done_at" "" "the download is complete" "$bytes bytes"
}

one_more_request() {
  start_tool another get --url "http://$local_address/hello"
  exit_status another 10
  expect "one more request is answered" [ "$status" = 0 ]
  another_ms=$(from_log another 1000 firstByteAfterMs event=done)
}

summary() {
  local handshakes migrations served relayed requests
  served=$(hash_of "$file")
  read -r handshakes migrations < <(wait_agent 2000 sessions.0.handshakes,sessions.0.migrations)
  relayed=$(relayed_bytes)
  requests=$(tool count --log "$dir/service.out" --where event=request --where url=/file)
  cat <<TEXT

  served   SHA-256 $served
  arrived  SHA-256 $arrived

  first response byte, from a cold start      $first_byte_ms ms after the connection was taken
  first response byte of one more connection  $another_ms ms
  time to direct                              $direct_ms ms
  the planned switch, relay to direct         $(planned_silence)
TEXT
  if [ "$cutting" = yes ]; then
    cat <<TEXT
  the cut, direct to relay                    $(silence "$cut_at") ms of silence for the application, on the relay after $back_ms ms
  direct again                                ${again_ms:-not within 40000} ms after mending
TEXT
  fi
  cat <<TEXT
  QUIC handshakes, path changes               $handshakes, $migrations
  over the relay                              $(megabytes "$relayed") of $(megabytes "$bytes")

TEXT
  expect "what arrived is what was served" [ "$served" = "$arrived" ]
  expect "there was one QUIC handshake" [ "$handshakes" = 1 ]
  expect "the file was asked for once" [ "$requests" = 1 ]
}

planned_silence() {
  if [ "$route" = direct ]; then
    echo "before the first byte"
  else
    echo "$(silence "$switched_at") ms of silence for the application, $switch_packets_ms ms between packets"
  fi
}

# The longest pause in the download around a moment. The service itself pauses for 5 ms between two pieces.
silence() { tool gap --log "$dir/download.out" --from "$(($1 - 100))" --to "$(($1 + 1000))" | sed 's/.*"ms":\([0-9.]*\).*/\1/'; }

# from_log NAME TIMEOUT_MS PRINT WHERE...: from what a program logged or a tool printed.
from_log() {
  local name=$1 timeout=$2 print=$3 where=() condition file
  shift 3
  for condition in "$@"; do where+=(--where "$condition"); done
  if [ "$name" = agent ]; then file=$dir/agent.log; else file=$dir/$name.out; fi
  tool wait --log "$file" --timeout "$timeout" --print "$print" "${where[@]}"
}

end_programs() {
  local name
  for name in agent connector intermediate; do
    stop "$name" INT
    expect "$name ends cleanly (exit status $status)" [ "$status" = 0 ]
  done
}

verdict() {
  local problem
  if [ "${#problems[@]}" -gt 0 ]; then
    for problem in "${problems[@]}"; do echo "${red}not so: $problem${plain}"; done
    show_logs
    failed=1
    exit 1
  fi
  if [ "$cutting" = yes ]; then
    echo "${green}All is well: every byte arrived once, on one TCP connection, whichever path there was.${plain}"
  else
    echo "SKIPPED: cut"
    echo "${green}All else is well.${plain}"
  fi
}

main "$@"
