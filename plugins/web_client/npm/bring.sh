#!/bin/sh
# Put the files of Converse.js into a folder, as the lock file beside this script has them: `bring.sh FOLDER`.
# Text is compressed once, here. A folder that is there is replaced when all of it has come.
set -e
command -v npm >/dev/null || { echo "the web client comes by npm: install that first (Debian: apt install npm)" >&2; exit 1; }
here=$(dirname "$0")
mkdir -p "$1"
target=$(cd "$1" && pwd)
new=$target.new
rm -rf "$new"
mkdir -p "$new/npm"
trap 'rm -rf "$new"' EXIT
cp "$here/package.json" "$here/package-lock.json" "$new/npm/"
(cd "$new/npm" && npm ci --silent --no-audit --no-fund --ignore-scripts) || {
    echo "npm could not bring the web client" >&2
    exit 1
}
mv "$new/npm/node_modules/converse.js/dist" "$new/web"
cd "$new/web"
# What the page does not load: maps, and what there is in a smaller form.
find . -name '*.map' -delete
rm -f converse.js converse.css website.css website.min.css
find . -type f \( -name '*.js' -o -name '*.css' -o -name '*.json' -o -name '*.svg' -o -name '*.wasm' \) -size +1k \
    -exec gzip -9 -n -k {} +
touch .installed
rm -rf "$target"
mv "$new/web" "$target"
