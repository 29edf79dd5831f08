# Sourced by tools/run, tools/test and tools/lint: finds a Python and keeps .venv in step with pyproject.toml.
# POSIX sh; needs nothing but Python >= 3.11. Sets: root, venv, venv_python.

case ${0##*/} in
setup.sh)
    cat >&2 <<'END'
tools/setup.sh is a part of other scripts: it finds a Python and keeps .venv in step with pyproject.toml. Run one of these:
  tools/run     a whole system with simulated Boxes and its page (makes .venv first)
  tools/lint    style and types of the code (makes .venv with everything that work on the code needs)
  tools/test    the same, and every test
END
    exit 2
    ;;
esac

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
venv=$root/.venv
venv_python=$venv/bin/python

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

suitable() { "$1" -c 'import sys, venv; sys.exit(not sys.version_info >= (3, 11))' >/dev/null 2>&1; }

# The newest released Python that runs and has venv; a plain python3 last, whatever its number.
find_python() {
    for candidate in "${OPQ_PYTHON:-}" python3.14 python3.13 python3.12 python3.11 python3 python; do
        if [ -n "$candidate" ] && suitable "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# The distribution's own Python of the same version as find_python's. It is compiled with the compiler's profile;
# a Python that pyenv compiled without takes a fifth more CPU to start a service.
distribution_python() {
    python=$(find_python) || return 1
    python=/usr/bin/$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    if suitable "$python"; then printf '%s\n' "$python"; else return 1; fi
}

# pip for a Python without ensurepip (Debian's python3 without python3-venv): any pip that is
# about installs one into the venv, else Debian's own pip wheel does.
bootstrap_pip() {
    for candidate in "$1" python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -m pip --python "$venv_python" install --quiet pip >/dev/null 2>&1; then
            return 0
        fi
    done
    for wheel in /usr/share/python-wheels/pip-*.whl; do
        if [ -f "$wheel" ] && "$venv_python" "$wheel/pip" install --quiet pip >/dev/null 2>&1; then
            return 0
        fi
    done
    return 1
}

make_venv() {
    python=$(find_python) || fail "OPQ needs Python 3.11 or newer with its venv module, and found none.
On Debian or Ubuntu:  sudo apt install python3 python3-venv
Elsewhere, name one:  OPQ_PYTHON=/path/to/python3 tools/run"
    say "Making .venv with $("$python" --version 2>&1) ($python)"
    rm -rf "$venv"
    if "$python" -m venv "$venv" >/dev/null 2>&1; then
        return 0
    fi
    rm -rf "$venv"
    "$python" -m venv --without-pip "$venv" || fail "$python cannot make a virtual environment in $venv."
    if ! bootstrap_pip "$python"; then
        rm -rf "$venv"
        fail "This Python has no ensurepip, and no other pip was found to start from. One line mends it:
  sudo apt install python3-venv"
    fi
}

# install EXTRAS: does nothing while pyproject.toml and the environment are as they were.
install() {
    extras=$1
    stamp=$venv/opq-installed
    want="$(cksum <"$root/pyproject.toml") $root"
    if [ -x "$venv_python" ] && [ -f "$stamp" ]; then
        IFS='|' read -r have_want have_extras <"$stamp" || :
        case ",$have_extras," in
        *",dev,"* | *",$extras,"*)
            if [ "$have_want" = "$want" ] && "$venv_python" -c 'import opq_proto' 2>/dev/null; then
                return 0
            fi
            ;;
        esac
    fi
    if ! { [ -x "$venv_python" ] && suitable "$venv_python" && "$venv_python" -m pip --version >/dev/null 2>&1; }; then
        make_venv
    fi
    rm -f "$stamp"
    say "Installing opq-toolkit[$extras] into .venv (once; a minute or two)"
    if [ -t 2 ]; then quiet=; else quiet='--progress-bar off'; fi
    # Python 3.11's own pip takes nearly three times as long as a new one.
    "$venv_python" -m pip install --no-compile --quiet --disable-pip-version-check --upgrade pip >/dev/null 2>&1 || :
    # Python compiles what it imports when it first does so; pip would compile ten times as much.
    # shellcheck disable=SC2086  # quiet is two words or none
    "$venv_python" -m pip install --no-compile --disable-pip-version-check --only-binary numpy,matplotlib $quiet \
        --editable "$root[$extras]" >&2 || fail "Installing failed: see above what pip says; then run this again."
    printf '%s|%s\n' "$want" "$extras" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}
