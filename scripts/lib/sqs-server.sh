# Installs the SQS server of the tests, in a Python environment of its own under target/. Sourced from the
# top folder, after prerequisites.sh. Does nothing if it is already installed, and reinstalls it if the
# list of packages has changed.

install_sqs_server() {
    home=target/sqs-server
    wanted=scripts/lib/sqs-server.txt
    # The copy is written last, so that an interrupted installation does not count as complete.
    if cmp -s "$wanted" "$home/installed.txt"; then
        return
    fi
    # Debian has venv in a package of its own: `python3 -m venv` exists without it, but fails for lack of ensurepip.
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
    echo "Installing the SQS server of the tests into $home" >&2
    rm -rf "$home"
    python3 -m venv "$home"
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$wanted"
    cp "$wanted" "$home/installed.txt"
}

install_sqs_server
