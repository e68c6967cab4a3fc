#!/usr/bin/env bash
# Ingest a shop's files on a Spark cluster:
#
#   MASTER=spark://host:7077 deploy/spark/submit.sh --driver-memory 8g -- --config vitrina.toml
#
# Options before -- are spark-submit's, those after it are those of 'vitrina ingest'.
# MASTER: where Spark runs (default: this machine, all cores). PYTHON: a Python that has
# vitrina[spark,train], under the same path on every machine (default: python3 of the PATH).
set -euo pipefail

export PYSPARK_PYTHON=${PYTHON:-$(command -v python3)}
export PYSPARK_DRIVER_PYTHON=$PYSPARK_PYTHON
spark_options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    spark_options+=("$1")
    shift
done
[ $# -gt 0 ] && shift

submit=$("$PYSPARK_PYTHON" -c 'import pathlib, pyspark; print(pathlib.Path(pyspark.__file__).parent)')/bin/spark-submit
exec "$submit" --master "${MASTER:-local[*]}" "${spark_options[@]}" \
    "$(dirname "$0")/ingest.py" "$@"
