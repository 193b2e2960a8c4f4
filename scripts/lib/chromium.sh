# A browser without a window, in which the tests look at the dashboard. Sourced after prerequisites.sh. Any Chromium or Chrome will do;
# where there is none, Debian's. It needs a font that has letters: without one, a page is boxes.

if ! command -v chromium >/dev/null 2>&1 && ! command -v google-chrome >/dev/null 2>&1 && ! command -v google-chrome-stable >/dev/null 2>&1; then
    install_packages chromium fonts-dejavu-core
fi
