#!/bin/sh
# Prints the path of a Python 3.13 that runs and can make environments, or explains what is missing.
# A `python3.13` on PATH may be a pyenv shim that points nowhere: the script therefore runs each candidate.
set -u

candidates() {
    command -v python3.13
    for root in "${PYENV_ROOT:-}" "${HOME:-}/.pyenv" "$(pyenv root 2>/dev/null)" "$(shim_root)"; do
        [ -n "$root" ] && ls -d "$root"/versions/3.13*/bin/python3.13 2>/dev/null
    done
    command -v uv >/dev/null && uv python find 3.13 2>/dev/null
    ls -d "${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-${HOME:-}/.local/share}/uv/python}"/*3.13*/bin/python3.13 2>/dev/null
    ls -d /opt/homebrew/bin/python3.13 /usr/local/bin/python3.13 /usr/bin/python3.13 2>/dev/null
}

# A shim lies in the `shims` folder of a pyenv. HOME and PYENV_ROOT may name a different pyenv.
shim_root() {
    case "$(command -v python3.13)" in
        */shims/python3.13) dirname "$(dirname "$(command -v python3.13)")" ;;
    esac
}

works() {
    "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 13))' >/dev/null 2>&1
}

tried=$(candidates | awk '!seen[$0]++')
IFS='
'
for python in $tried; do
    if works "$python"; then
        echo "$python"
        exit 0
    fi
done

{
    echo "Python 3.13 (with its venv and ensurepip modules) is needed, and none was found."
    [ -n "$tried" ] && printf 'Tried, and did not work:\n%s\n' "$tried" | sed '2,$s/^/  /'
    echo "Any one of these installs it:"
    echo "  pyenv install 3.13"
    echo "  uv python install 3.13"
    echo "  brew install python@3.13"
    echo "  apt install python3.13-venv      (where the distribution has it)"
} >&2
exit 1
