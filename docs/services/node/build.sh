#!/bin/sh
# Compiles the addon of tfjs-node against the TensorFlow of a Python: PYTHON=... npm run build
set -eu
cd "$(dirname "$0")"

tensorflow=$("${PYTHON:-python3}" -c '
import importlib.util as util
found = util.find_spec("tensorflow")
print(*(found.submodule_search_locations if found else ()))')
if [ ! -e "$tensorflow/libtensorflow_cc.so.2" ]; then
    echo "build.sh: ${PYTHON:-python3} has no tensorflow for Linux: pass PYTHON=..." >&2
    exit 1
fi
package=node_modules/@tensorflow/tfjs-node
# Where tfjs-node looks for its addon: lib/napi-v<version of Node-API>/tfjs_binding.node
addon=$(node -p "require('@mapbox/node-pre-gyp').find('./$package/package.json')")
version=$(basename "$(dirname "$addon")" | sed 's/napi-v//')
mkdir -p "$(dirname "$addon")"
"${CXX:-c++}" -std=c++17 -O2 -fPIC -shared -DNAPI_VERSION="$version" \
    "$package"/binding/*.cc -o "$addon.new" \
    -I node_modules/node-api-headers/include -I "$tensorflow/include" -L "$tensorflow" \
    -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 "-Wl,-rpath,$tensorflow"
mv "$addon.new" "$addon"
echo "built $addon"
