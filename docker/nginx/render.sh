#!/bin/sh
# Prints the configuration of nginx: nginx.conf.template, filled in from the environment.
#
#   NGINX_API_SERVERS          addresses of the API's processes, HOST:PORT, separated by blanks; a name that stands for
#                              several addresses counts as all of them, looked up when nginx starts or reloads
#   NGINX_CERTIFICATE          file with the certificate and those between it and its root (PEM), an absolute path
#   NGINX_CERTIFICATE_KEY      file with its key (PEM), an absolute path
#   NGINX_LISTEN               address to listen on (0.0.0.0)
#   NGINX_HTTPS_PORT           port for TLS (443)
#   NGINX_HTTP_PORT            port that only redirects to the other (80)
#   NGINX_REQUESTS_PER_SECOND  of one address, on average (100)
#   NGINX_BURST                how many more it may send at once (200)
#   NGINX_CONNECTIONS          requests of one address that are under way at once, streams among them (100)
set -euf

fail() {
    echo "render.sh: $1" >&2
    exit 1
}

# what stands in the template, too, is nginx' own syntax: a value with a semicolon would be a directive
check() {
    case $2 in
    '' | *[!$3]*) fail "$1: '$2' is not $4" ;;
    esac
}

check NGINX_API_SERVERS "${NGINX_API_SERVERS:-}" '][A-Za-z0-9_.: -' 'a list such as "10.0.0.5:8000 10.0.0.6:8000"'
for file in NGINX_CERTIFICATE NGINX_CERTIFICATE_KEY; do
    eval "value=\${$file:-}"
    check "$file" "$value" 'A-Za-z0-9_./-' 'the path of a file, of letters, digits and _./-'
    case $value in
    /*) ;;
    *) fail "$file: '$value' is not an absolute path" ;;
    esac
done
: "${NGINX_LISTEN:=0.0.0.0}" "${NGINX_HTTPS_PORT:=443}" "${NGINX_HTTP_PORT:=80}"
: "${NGINX_REQUESTS_PER_SECOND:=100}" "${NGINX_BURST:=200}" "${NGINX_CONNECTIONS:=100}"
check NGINX_LISTEN "$NGINX_LISTEN" '][0-9a-fA-F.:' 'an IP address'
for number in NGINX_HTTPS_PORT NGINX_HTTP_PORT NGINX_REQUESTS_PER_SECOND NGINX_BURST NGINX_CONNECTIONS; do
    eval "check $number \"\$$number\" '0-9' 'a number'"
done

servers=
for address in $NGINX_API_SERVERS; do
    servers="$servers        server $address max_fails=3 fail_timeout=5s;\\
"
done
suffix=
[ "$NGINX_HTTPS_PORT" = 443 ] || suffix=:$NGINX_HTTPS_PORT

sed -e "s|\${API_SERVERS}|${servers%??}|" \
    -e "s|\${HTTPS_PORT_SUFFIX}|$suffix|" \
    -e "s|\${NGINX_CERTIFICATE}|$NGINX_CERTIFICATE|" \
    -e "s|\${NGINX_CERTIFICATE_KEY}|$NGINX_CERTIFICATE_KEY|" \
    -e "s|\${NGINX_LISTEN}|$NGINX_LISTEN|" \
    -e "s|\${NGINX_HTTPS_PORT}|$NGINX_HTTPS_PORT|" \
    -e "s|\${NGINX_HTTP_PORT}|$NGINX_HTTP_PORT|" \
    -e "s|\${NGINX_REQUESTS_PER_SECOND}|$NGINX_REQUESTS_PER_SECOND|" \
    -e "s|\${NGINX_BURST}|$NGINX_BURST|" \
    -e "s|\${NGINX_CONNECTIONS}|$NGINX_CONNECTIONS|" \
    "$(dirname "$0")/nginx.conf.template"
