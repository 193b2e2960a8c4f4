# Installs a headless browser, with which the tests look at the dashboard. Sourced after prerequisites.sh. Any
# Chromium or Chrome will do; if there is none, Debian's is installed. The browser needs a font with letters,
# since without one it draws boxes.

if ! command -v chromium >/dev/null 2>&1 && ! command -v google-chrome >/dev/null 2>&1 && ! command -v google-chrome-stable >/dev/null 2>&1; then
    install_packages chromium fonts-dejavu-core
fi
