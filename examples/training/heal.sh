#!/bin/sh
# Plays the healing agent: it gets the request on standard input, may edit the tree, and ends with its verdict. No intelligence.
set -eu
cat > /dev/null
sed 's/"accuracy" if step >= 14 else "loss"/"loss"/' train.py > train.py.new
mv train.py.new train.py
echo "report() asks for a metric that forward() does not compute. It asks for the loss now."
echo "ACTION: restart"
