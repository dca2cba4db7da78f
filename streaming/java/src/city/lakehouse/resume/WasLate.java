package city.lakehouse.resume;

import java.util.Arrays;
import java.util.HashMap;
import org.apache.flink.table.functions.ScalarFunction;

/** Whether the event at an offset of a partition is one of those that the function was made with. */
public final class WasLate extends ScalarFunction {

    private static final long serialVersionUID = 1L;

    private final HashMap<Integer, long[]> offsets = new HashMap<>();

    /**
     * @param known partitions with their offsets, as {@code 0:17,42;3:5}
     */
    public WasLate(String known) {
        for (String partition : known.split(";")) {
            String[] parts = partition.split(":");
            long[] sorted = Arrays.stream(parts[1].split(",")).mapToLong(Long::parseLong).sorted().toArray();
            offsets.put(Integer.parseInt(parts[0]), sorted);
        }
    }

    /** What SQL calls. */
    public Boolean eval(Integer partition, Long offset) {
        long[] known = offsets.get(partition);
        return known != null && Arrays.binarySearch(known, offset) >= 0;
    }
}
