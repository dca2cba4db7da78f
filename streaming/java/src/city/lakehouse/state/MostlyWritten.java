package city.lakehouse.state;

import java.util.Collection;

import org.apache.flink.state.rocksdb.RocksDBOptionsFactory;
import org.rocksdb.ColumnFamilyOptions;
import org.rocksdb.DBOptions;

/**
 * What Flink has no options for, for a RocksDB whose largest state by far is written and seldom read: the identifiers
 * of the deduplication.
 *
 * <p>Each checkpoint leaves a sorted run. Runs are merged when there are many, as each merge reads and writes all of
 * them again; a look, which asks the filter of every run, pays for that. After a restore the deduplication looks for
 * each event, nearly all of them new: memtables have a filter too, without which each look walks the skip list of what
 * came since the last checkpoint, a cache miss a step.
 */
public final class MostlyWritten implements RocksDBOptionsFactory {

    private static final long serialVersionUID = 1L;

    /** Of a memtable: 1.3 MB of 64 MB, ten bits for each of a million keys. Each state that is written to has it. */
    private static final double FILTER_SIZE_RATIO = 0.02;

    private static final int RUNS_TO_MERGE = 24;

    /** With so many, merging has fallen far behind, and writes wait for it. */
    private static final int RUNS_TO_SLOW_DOWN = 72;

    private static final int RUNS_TO_STOP = 96;

    @Override
    public DBOptions createDBOptions(DBOptions options, Collection<AutoCloseable> handlesToClose) {
        return options;
    }

    @Override
    public ColumnFamilyOptions createColumnOptions(
            ColumnFamilyOptions options, Collection<AutoCloseable> handlesToClose) {
        return options.setMemtablePrefixBloomSizeRatio(FILTER_SIZE_RATIO)
                .setMemtableWholeKeyFiltering(true)
                .setLevel0FileNumCompactionTrigger(RUNS_TO_MERGE)
                .setLevel0SlowdownWritesTrigger(RUNS_TO_SLOW_DOWN)
                .setLevel0StopWritesTrigger(RUNS_TO_STOP);
    }
}
