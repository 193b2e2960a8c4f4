# Installs what cargo cannot: a C compiler (bundled SQLite), pkg-config and the OpenSSL headers (native TLS).
# Sourced by the other scripts.

packages=""
command -v cc >/dev/null 2>&1 || packages="$packages build-essential"
command -v pkg-config >/dev/null 2>&1 || packages="$packages pkg-config"
if ! command -v pkg-config >/dev/null 2>&1 || ! pkg-config --exists openssl 2>/dev/null; then
    packages="$packages libssl-dev"
fi

if ! command -v cargo >/dev/null 2>&1 && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH="$HOME/.cargo/bin:$PATH"
fi
if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust is missing: install it with rustup (https://rustup.rs), then run this again." >&2
    exit 1
fi

# install_packages NAME...: installs packages from Debian or Ubuntu if that is permitted; otherwise
# prints the one line that does it.
install_packages() {
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" -eq 0 ]; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    elif command -v apt-get >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    else
        echo "Missing: $*. Install them with: sudo apt-get install -y $*" >&2
        exit 1
    fi
}

# shellcheck disable=SC2086 # one word each
[ -z "$packages" ] || install_packages $packages
