package city.lakehouse.distinct;

import java.util.ArrayDeque;
import java.util.Iterator;
import org.apache.iceberg.shaded.org.apache.parquet.column.values.bloomfilter.BlockSplitBloomFilter;
import org.apache.iceberg.shaded.org.apache.parquet.column.values.bloomfilter.BloomFilter;
import org.apache.iceberg.shaded.org.apache.parquet.io.api.Binary;

/**
 * Tells of most keys that they were not added within a time; never so of one that was.
 *
 * <p>Bloom filters, each of what came within a part of that time: one that is older in whole is dropped. Times are
 * milliseconds of a clock that may stand still, and where it goes back keys are remembered for longer.
 */
public final class RecentKeys {

    /** Of each key: of a thousand that were not added, one is taken for one that was. */
    private static final int BITS = 16;

    private static final BloomFilter HASH = new BlockSplitBloomFilter(BlockSplitBloomFilter.LOWER_BOUND_BYTES);
    private static final int PARTS = 6;
    private static final int FEWEST_KEYS = 1 << 14;

    private final long rememberedMs;
    private final long mostKeys;
    private final ArrayDeque<Part> parts = new ArrayDeque<>();
    private long keys;
    private long completeFrom;

    /**
     * @param rememberedMs how long a key is remembered at least
     * @param mostKeys     memory is for so many keys, of two bytes each; with more this knows nothing for a time
     * @param completeFrom before this time keys may exist that were never added here, so that nothing is known
     */
    public RecentKeys(long rememberedMs, long mostKeys, long completeFrom) {
        this.rememberedMs = rememberedMs;
        this.mostKeys = mostKeys;
        this.completeFrom = completeFrom;
    }

    /** Whether {@code key} was certainly not added within the time before {@code now}. */
    public boolean isNew(byte[] key, long now) {
        if (now < completeFrom) {
            return false;
        }
        // what is repeated mostly follows soon
        Iterator<Part> newestFirst = parts.descendingIterator();
        long hash = hash(key);
        while (newestFirst.hasNext()) {
            if (newestFirst.next().filter.findHash(hash)) {
                return false;
            }
        }
        return true;
    }

    /** Remember {@code key} from {@code now} on. */
    public void add(byte[] key, long now) {
        Part newest = parts.peekLast();
        if (newest == null || newest.isFull() || now - newest.began >= rememberedMs / PARTS) {
            newest = begin(now, newest);
        }
        newest.filter.insertHash(hash(key));
        newest.keys++;
        newest.ended = Math.max(newest.ended, now);
        keys++;
    }

    private Part begin(long now, Part before) {
        while (!parts.isEmpty() && now - parts.peekFirst().ended > rememberedMs) {
            keys -= parts.removeFirst().keys;
        }
        if (keys >= mostKeys) {
            parts.clear();
            keys = 0;
            completeFrom = now + rememberedMs;
        }
        Part part = new Part(now, Math.min(expectedAfter(before), Math.max(FEWEST_KEYS, mostKeys / PARTS)));
        parts.addLast(part);
        return part;
    }

    private static long hash(byte[] key) {
        return HASH.hash(Binary.fromConstantByteArray(key));
    }

    /** Much more where the part was full before its time: each part costs every key a look. */
    private static long expectedAfter(Part before) {
        return before == null ? FEWEST_KEYS : Math.max(FEWEST_KEYS, (before.isFull() ? 8 : 2) * before.keys);
    }

    private static final class Part {

        private final BloomFilter filter;
        private final long capacity;
        private final long began;
        private long ended;
        private long keys;

        private Part(long began, long expected) {
            this.began = began;
            this.ended = began;
            // of bytes it takes a power of two
            int bytes = Math.toIntExact(Long.highestOneBit(expected * BITS / Byte.SIZE - 1) * 2);
            this.filter = new BlockSplitBloomFilter(bytes);
            this.capacity = (long) bytes * Byte.SIZE / BITS;
        }

        private boolean isFull() {
            return keys >= capacity;
        }
    }
}
