"""Labels an archive with Spark: JSON lines or Parquet with a column `text` in, the same rows with their labels out.

    pip install -c constraints.txt '.[spark]'     # and a Java runtime, 17 or newer
    python benchmarks/spark.py archive.jsonl labels.parquet --master 'local[2]'

Every row is labelled as one sentence, as `python -m predict --lines` does. The model is the one that MLflow logged
(`--model`, from the store that MLFLOW_TRACKING_URI names, `sqlite:///mlflow.db` by default); it needs no installed
`allegedly`, only openvino and tokenizers on every worker. On a cluster submit this same file with `spark-submit`.
The last line says how long it took.
"""

import argparse
import os
import sys
import time
from pathlib import Path


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Label an archive with Spark.")
    parser.add_argument("input", help="JSON lines or Parquet with a column `text`; a file or a folder")
    parser.add_argument("output", help="a folder that is not there yet; Parquet, or JSON lines if its name ends so")
    parser.add_argument("--model", default="models:/stance@champion")
    parser.add_argument("--master", help="local[2], say; default: as spark-submit says")
    parser.add_argument("--partitions", type=int, help="pieces of work; default: as Spark divides the input")
    options = parser.parse_args(arguments)
    if Path(options.output).exists():
        parser.error(f"{options.output} is there already; name another folder")

    import mlflow
    from pyspark.sql import SparkSession
    from pyspark.sql.functions import col, struct

    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"))
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("allegedly")
    if options.master:
        builder = builder.master(options.master)
    # Batches as large as the classifier's own window, so that sentences of like length meet.
    spark = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "4096").getOrCreate()
    try:
        started = time.perf_counter()
        parquet = Path(options.input).suffix == ".parquet" or any(Path(options.input).glob("*.parquet"))
        # FAILFAST: a line that is not JSON stops the work instead of becoming a row without text
        rows = spark.read.parquet(options.input) if parquet else spark.read.json(options.input, mode="FAILFAST")
        added = {"label", "probability", "probabilities"}  # of what the model says, the part that is new
        clash = {"text"} - set(rows.columns) or added & set(rows.columns)
        if clash:
            parser.error(f"{options.input}: needs a column text, and none named as what is added ({', '.join(clash)})")
        if options.partitions:
            rows = rows.repartition(options.partitions)
        label = mlflow.pyfunc.spark_udf(spark, options.model, env_manager="local")
        found = [col(f"found.{name}") for name in sorted(added)]
        labelled = rows.withColumn("found", label(struct(col("text")))).select("*", *found).drop("found")
        json_lines = options.output.endswith((".json", ".jsonl"))
        (labelled.write.json if json_lines else labelled.write.parquet)(options.output)
        seconds = time.perf_counter() - started
        number = rows.count()
        print(f"{number} sentences in {seconds:.0f} s, {number / seconds:.0f} sentences/s")
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
