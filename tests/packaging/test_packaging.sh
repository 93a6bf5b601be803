#!/bin/sh
# Runs test_packaging.py with a Python that has its two modules; 77 = skipped when there is none.
#
# SPDX-License-Identifier: Apache-2.0
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
for python in python3 /usr/bin/python3; do
    if "$python" -c 'import yaml, jsonschema' 2>/dev/null; then
        exec "$python" -B "$here/test_packaging.py"
    fi
done
echo "SKIP: no Python with yaml and jsonschema (Debian: python3-yaml python3-jsonschema)"
exit 77
