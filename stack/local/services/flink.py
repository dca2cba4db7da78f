"""A standalone Flink cluster out of the PyFlink wheel: one JobManager and one TaskManager."""

import os
from pathlib import Path

import yaml

from contracts import families
from resources import hadoop
from settings import Settings
from stack.local.files import write_private
from stack.local.http_probe import get_json
from stack.local.service import Service, Stage
from stack.local.services.jvm import FIRST_COMPILER_ONLY, LATE_SECOND_COMPILER
from stack.toolchain.flink_extension import extension_jar
from stack.toolchain.jars import class_path

TASK_MANAGER = "flink-taskmanager"
JOB_MANAGER_MEMORY = "1024m"
TASK_MANAGER_MEMORY = "3200m"
LARGEST_BUFFER_KIB = 512
SMALLEST_BUFFER_KIB = 32
"""Flink's own."""
TASK_MANAGER_OPTIONS = (
    # a job that goes on after an OutOfMemoryError somewhere is in a state that nobody knows
    "-XX:+ExitOnOutOfMemoryError",
    # huge pages need fewer walks of page tables, which are long in a virtual machine; only a JVM on Linux knows it
    "-XX:+IgnoreUnrecognizedVMOptions",
    "-XX:+UseTransparentHugePages",
    # thousands of methods of a checkpoint or a commit took a third of the process for minutes
    *LATE_SECOND_COMPILER,
    # generated methods are whole, see the options of the jobs, and one beyond 8,000 bytes would be interpreted
    "-XX:-DontCompileHugeMethods",
)

LOG4J = """rootLogger.level = {level}
rootLogger.appenderRef.console.ref = console
appender.console.type = CONSOLE
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %m (%c)%n%xEx
logger.pekko.name = org.apache.pekko
logger.pekko.level = WARN
logger.kafka.name = org.apache.kafka
logger.kafka.level = WARN
logger.iceberg.name = org.apache.iceberg
logger.iceberg.level = WARN
"""


def flink_home(settings: Settings) -> Path:
    """The ``pyflink`` package, which is a whole Flink distribution."""
    (found,) = (settings.toolchain / "streaming" / "lib").glob("python3*/site-packages/pyflink")
    return found


def flink_environment(settings: Settings, java_home: Path) -> dict[str, str]:
    """Environment of every Flink process."""
    folder = settings.home / "conf" / "flink"
    return {
        "JAVA_HOME": str(java_home),
        "FLINK_HOME": str(flink_home(settings)),
        "FLINK_CONF_DIR": str(folder),
        "FLINK_LOG_DIR": str(settings.home / "logs"),
        "FLINK_PID_DIR": str(settings.home / "run"),
        "FLINK_PLUGINS_DIR": str(folder / "plugins"),
        # on the class path of the JVM rather than shipped with each job: Iceberg's catalog needs Hadoop's
        # classes there, and a restarted job then loads nothing anew
        "HADOOP_CLASSPATH": os.pathsep.join(
            (str(hadoop.DEFAULTS), class_path(settings.toolchain, "flink"), str(extension_jar(settings.toolchain)))
        ),
    }


def client_environment(settings: Settings, java_home: Path) -> dict[str, str]:
    """Environment of the process that submits jobs: it ends before the second compiler would pay."""
    return {**flink_environment(settings, java_home), "JVM_ARGS": FIRST_COMPILER_ONLY}


def job_manager(settings: Settings, java_home: Path) -> Service:
    """The JobManager; ready when its REST interface answers."""
    return Service(
        name="flink-jobmanager",
        stage=Stage.INFRASTRUCTURE,
        command=(str(flink_home(settings) / "bin" / "jobmanager.sh"), "start-foreground"),
        environment=flink_environment(settings, java_home),
        address=settings.flink_url,
        ports=(settings.ports.flink, settings.ports.flink_rpc),
        is_ready=lambda: get_json(f"{settings.flink_url}/overview") is not None,
    )


def task_manager(settings: Settings, java_home: Path) -> Service:
    """The TaskManager; ready when it has registered with the JobManager."""
    return Service(
        name=TASK_MANAGER,
        stage=Stage.INFRASTRUCTURE,
        command=(str(flink_home(settings) / "bin" / "taskmanager.sh"), "start-foreground"),
        environment=flink_environment(settings, java_home),
        address="registers with the JobManager",
        is_ready=lambda: _has_task_manager(settings),
    )


def prepare(settings: Settings) -> None:
    """Write the cluster's configuration and link its plugins."""
    folder = settings.home / "conf" / "flink"
    configuration = _configuration(settings)
    write_private(folder / "config.yaml", yaml.safe_dump(configuration, sort_keys=True))
    for name, level in (("log4j-console", "INFO"), ("log4j-cli", "WARN"), ("log4j", "WARN")):
        write_private(folder / f"{name}.properties", LOG4J.replace("{level}", level))
    plugin = folder / "plugins" / "s3-fs-hadoop"
    plugin.mkdir(parents=True, exist_ok=True)
    for stale in plugin.iterdir():
        stale.unlink()
    for jar in (settings.toolchain / "jars" / "flink-plugins").glob("*.jar"):
        (plugin / jar.name).symlink_to(jar)
    (settings.home / "data" / "flink").mkdir(parents=True, exist_ok=True)


def _configuration(settings: Settings) -> dict[str, str | int | float | bool]:
    slots = len(families()) * settings.flink_parallelism
    return {
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": settings.ports.flink_rpc,
        "jobmanager.bind-host": "127.0.0.1",
        "jobmanager.memory.process.size": JOB_MANAGER_MEMORY,
        "jobmanager.execution.failover-strategy": "region",
        "taskmanager.host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "taskmanager.memory.process.size": TASK_MANAGER_MEMORY,
        # RocksDB's; the heap holds open Parquet files
        "taskmanager.memory.managed.fraction": 0.25,
        # rows that wait for a task which closes files, without holding up the source: the hot topic shares it. A
        # channel has ten buffers and no option to have more, so they are large (32 KB would be 0.2 s at 7,000/s)
        "taskmanager.memory.segment-size": f"{_buffer_kib(settings.flink_parallelism)}k",
        # all of the buffers; a fraction of the whole would follow the size of the heap
        "taskmanager.memory.network.min": "256m",
        "taskmanager.memory.network.max": "256m",
        "taskmanager.numberOfTaskSlots": slots,
        "env.java.opts.taskmanager": " ".join(TASK_MANAGER_OPTIONS),
        # it computes little, and the second compiler took more of a core in the first minutes than all else in it
        "env.java.opts.jobmanager": FIRST_COMPILER_ONLY,
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.port": settings.ports.flink,
        "web.submit.enable": False,
        "execution.checkpointing.incremental": True,
        "execution.checkpointing.dir": f"{settings.checkpoint_location}/checkpoints",
        "execution.checkpointing.savepoint-dir": f"{settings.checkpoint_location}/savepoints",
        "execution.checkpointing.num-retained": 3,
        # ms; of what the REST interface tells of running jobs
        "metrics.fetcher.update-interval": 1000,
        "state.backend.type": "rocksdb",
        # nearly every event is new: after a restore the deduplication asks for keys that are not there
        "state.backend.rocksdb.use-bloom-filter": True,
        "state.backend.rocksdb.options-factory": "city.lakehouse.state.MostlyWritten",
        # whole filters are megabytes, and each that has left the cache was read and checksummed again for one key
        "state.backend.rocksdb.memory.partitioned-index-filters": True,
        # parts of 4 KB are thousands, and to find the one of a key costs more than what stands in it
        "state.backend.rocksdb.block.metadata-blocksize": "1mb",
        # with ten bits one key in a hundred passes the filter of a file, and each look asks several: a block that
        # is read for nothing costs as much as many looks
        "state.backend.rocksdb.bloom-filter.bits-per-key": 16.0,
        "state.backend.rocksdb.memory.high-prio-pool-ratio": 0.3,
        # each checkpoint flushes what came since: levels would merge those small files with all of the first level
        "state.backend.rocksdb.compaction.style": "UNIVERSAL",
        # most of it are identifiers, which get no smaller
        "state.backend.rocksdb.compression.per.level": "NO_COMPRESSION",
        # pools of the S3 client keep the class loader of the job that started them; once that was stopped it would
        # load nothing any more, and the first large upload after that failed, like all that followed
        "classloader.check-leaked-classloader": False,
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "30 s",
        "s3.endpoint": settings.s3_endpoint,
        "s3.access-key": settings.s3_access_key.get_secret_value(),
        "s3.secret-key": settings.s3_secret_key.get_secret_value(),
        "s3.path.style.access": True,
        # else each file that is written asks the store to delete the markers of the folders above it, though they
        # are not empty, and many of those requests took a second
        "s3.directory.marker.retention": "keep",
        "fs.s3a.endpoint.region": settings.s3_region,
        "io.tmp.dirs": str(settings.home / "data" / "flink"),
        "env.java.opts.all": f"{_module_options(settings)} -Djava.io.tmpdir={settings.home / 'data' / 'flink'}",
    }


def _buffer_kib(parallelism: int) -> int:
    """KiB of a buffer: a power of two, and less the more channels there are, of which each needs one at least."""
    channels = parallelism**2
    return max(SMALLEST_BUFFER_KIB, LARGEST_BUFFER_KIB >> (channels - 1).bit_length())


def _module_options(settings: Settings) -> str:
    """The module system's exceptions that this Flink needs, from its own default configuration."""
    defaults = yaml.safe_load((flink_home(settings) / "conf" / "config.yaml").read_text())
    return str(defaults["env"]["java"]["opts"]["all"])


def _has_task_manager(settings: Settings) -> bool:
    overview = get_json(f"{settings.flink_url}/overview")
    return isinstance(overview, dict) and overview.get("taskmanagers", 0) > 0
