#!/usr/bin/env bash
# Runs the integration tests on real servers. Asks nothing, and leaves nothing running, however it ends.
set -euo pipefail

usage() {
    cat <<'END'
usage: ./run-integration-tests.sh [--fast] [--keep] [--servers WHICH] [-- PYTEST-ARGUMENT ...]

  --fast           leave out the tests marked slow
  --keep           let the servers run on, and say where they are and how to stop them
  --servers WHICH  auto (the default), wheels, local, containers: as --agentmem-servers of pytest;
                   compose: those of docker-compose-test.yml

WORKERS=4 ./run-integration-tests.sh runs that many tests at once (2), PYTHON=… by that Python (.venv/bin/python).
END
}

fail() {
    printf '%s\n' "$*" >&2
    exit 2
}

servers=auto keep='' selection=()
while [ $# -gt 0 ]; do
    case $1 in
        --fast) selection=(-m 'not slow') ;;
        --keep) keep=yes ;;
        --servers) servers=${2:?--servers needs a word: see --help} && shift ;;
        --servers=*) servers=${1#*=} ;;
        --help | -h) usage && exit ;;
        --) shift && break ;;
        *) usage >&2 && fail "unknown option: $1" ;;
    esac
    shift
done
case $servers in
    auto | wheels | local | containers | compose) ;;
    *) usage >&2 && fail "unknown servers: $servers" ;;
esac

cd "$(dirname "$0")"
python=${PYTHON:-.venv/bin/python}
[ -n "${PYTHON:-}" ] || [ -x .venv/bin/pytest ] || make --quiet .venv/.dev

compose=()
stop_hint=''

start_compose() {
    if docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    elif docker-compose version >/dev/null 2>&1; then
        compose=(docker-compose)
    else
        fail "--servers compose needs Docker Compose: neither 'docker compose' nor 'docker-compose' is there"
    fi
    compose+=(--project-name agentmem-test --file docker-compose-test.yml)
    "${compose[@]}" up --detach
    local containers
    containers=$("${compose[@]}" ps -q)
    for _ in $(seq 120); do
        # shellcheck disable=SC2086 # one id a line
        [ "$(docker inspect --format '{{.State.Health.Status}}' $containers | sort -u)" != healthy ] || break
        sleep 0.5
    done
    # shellcheck disable=SC2086
    [ "$(docker inspect --format '{{.State.Health.Status}}' $containers | sort -u)" = healthy ] || {
        "${compose[@]}" logs --tail 20
        fail "the containers are not healthy after a minute"
    }
    export AGENTMEM_TEST_POSTGRES_URL=postgresql://agentmem:agentmem@127.0.0.1:5433/agentmem
    export AGENTMEM_TEST_REDIS_URL=redis://:agentmem@127.0.0.1:6380/0
    "$python" -m agentmem db upgrade --url "$AGENTMEM_TEST_POSTGRES_URL"
    stop_hint="${compose[*]} down --volumes"
}

keeper=''
where=''

start_keeper() {
    where=$(mktemp)
    "$python" tests/integration/keep_servers.py "$servers" >"$where" 2>&1 </dev/null &
    keeper=$!
    for _ in $(seq 120); do
        grep -q '^ready$' "$where" && break
        kill -0 "$keeper" 2>/dev/null || break
        sleep 0.5
    done
    grep -q '^ready$' "$where" || fail "the servers did not start: $(cat "$where")"
    eval "$(grep '^export AGENTMEM_TEST_' "$where")"
    stop_hint="kill $keeper"
}

clean_up() {
    local status=$?
    trap '' INT TERM # once begun, it is done
    if [ -n "$keep" ] && [ -n "$stop_hint" ]; then
        printf '\nThe servers run on. Where:\n'
        export -p | sed -n 's/^declare -x \(AGENTMEM_TEST_[A-Z]*_URL\)=/    export \1=/p'
        printf 'Tests on them:\n    %s -m pytest tests/integration --agentmem-servers=url\n' "$python"
        printf 'To stop them:\n    %s\n' "$stop_hint"
    else
        [ ${#compose[@]} -eq 0 ] || "${compose[@]}" down --volumes --remove-orphans || true
        [ -z "$keeper" ] || kill "$keeper" 2>/dev/null || true
    fi
    [ -z "$where" ] || rm -f "$where"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

choice=$servers
if [ "$servers" = compose ]; then
    start_compose
    choice=url
elif [ -n "$keep" ]; then
    start_keeper
    choice=url
fi

"$python" -m pytest tests/integration -n "${WORKERS:-2}" --dist worksteal --agentmem-servers="$choice" \
    ${selection[@]+"${selection[@]}"} "$@"
