# The SQS server of the tests, in a Python environment of its own under target/. Sourced after prerequisites.sh, from the top folder.
# Quick when it is there; made anew when the list of packages changed.

install_sqs_server() {
    home=target/sqs-server
    wanted=scripts/lib/sqs-server.txt
    # The copy is written last: an installation that was broken off is not taken for one.
    if cmp -s "$wanted" "$home/installed.txt"; then
        return
    fi
    # Debian splits venv off: `python3 -m venv` is there, but fails for lack of ensurepip.
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
    echo "Installing the SQS server of the tests into $home" >&2
    rm -rf "$home"
    python3 -m venv "$home"
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$wanted"
    cp "$wanted" "$home/installed.txt"
}

install_sqs_server
