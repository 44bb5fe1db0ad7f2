#!/usr/bin/env bash
# Environments of the peers that `rolecall-bench speed --peers DIR` measures: one each, apart from ours, pinned.
# Usage: tools/bench_peers.sh DIR      (about 3 GB; PYTHON=... picks the interpreter, ROLECALL_PYTHON=... ours)
set -euo pipefail

folder=${1:?usage: tools/bench_peers.sh DIR}
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
ours=${ROLECALL_PYTHON:-$root/.venv/bin/python}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

# environment NAME REQUIREMENT...: made once; delete the folder to make it anew.
environment() {
  local name=$1
  shift
  if [ -e "$folder/$name/.complete" ]; then return; fi
  "$python" -m venv --clear "$folder/$name"
  "$folder/$name/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
  "$folder/$name/bin/python" -m pip freeze --disable-pip-version-check > "$folder/$name.txt"
  touch "$folder/$name/.complete"
}

# infinity 0.0.78 wants numpy 1, so pyarrow and datasets of that time, and transformers below 4.49. Its optimum engine
# starts only with optimum 2 beside this torch: the exporter that optimum 1 imports asks torch for names it lost.
environment infinity "infinity-emb[torch,server]==0.0.78" torch==2.13.0 numpy==1.26.4 pyarrow==20.0.0 \
  datasets==3.6.0 transformers==4.48.3 tokenizers==0.21.4 sentence-transformers==3.4.1 optimum==2.1.0 \
  "optimum-onnx[onnxruntime]==0.1.0" onnxruntime==1.31.1

environment sentence_transformers sentence-transformers==5.7.0 torch==2.13.0 transformers==4.57.6

# The packaged default encoder as they read it: a Hugging Face folder, and the graph that optimum makes of it.
if [ ! -e "$folder/checkpoint/1_Pooling/config.json" ]; then
  "$ours" -m rolecall_load.bench.checkpoint "$folder/checkpoint"
fi
if [ ! -e "$folder/checkpoint-onnx/model.onnx" ]; then
  "$folder/infinity/bin/optimum-cli" export onnx --model "$folder/checkpoint" --library transformers \
    --task feature-extraction "$folder/checkpoint-onnx"
fi
