#!/bin/sh
# One balancer in front of two llama-servers on this machine.
#
# Start the llama-servers first; with explicit -np each slot gets its share of -c:
#
#     llama-server -m model.gguf --host 127.0.0.1 --port 8088 -np 4 -c 32768
#     llama-server -m model.gguf --host 127.0.0.1 --port 8089 -np 4 -c 32768
#
# Then: sh examples/two-servers.sh [FIRST_PORT SECOND_PORT]
#
# Clients talk to http://127.0.0.1:8086. Ctrl-C ends the balancer and the agents; the
# llama-servers go on. PADDLER_MANAGEMENT_PORT and PADDLER_REVERSEPROXY_PORT choose other
# ports.
#
# How it was checked: tests/test_examples.py runs this file in front of two real
# llama-servers, has a chat answered, and stops it.
set -eu

first=${1:-8088}
second=${2:-8089}

paddler balancer &
balancer=$!
paddler agent --name first --local-llamacpp-port "$first" &
first_agent=$!
paddler agent --name second --local-llamacpp-port "$second" &
second_agent=$!

# Agents first: they take their leave of the balancer.
stop() {
    kill "$first_agent" "$second_agent" 2>/dev/null || true
    wait "$first_agent" "$second_agent" || true
    kill "$balancer" 2>/dev/null || true
    wait "$balancer" || true
    exit 0
}
trap stop INT TERM HUP

# Without a signal this waits until somebody ends all three.
wait
