package city.lakehouse.distinct;

import java.time.Duration;
import org.apache.flink.api.common.state.StateTtlConfig;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeutils.base.BooleanSerializer;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;

/**
 * Passes on the first event of each key, and none that follows within a time.
 *
 * <p>What was seen stands in keyed state, as it does for {@code ROW_NUMBER() ... WHERE n = 1} in SQL. There each
 * event asks RocksDB whether it was seen, which costs as much as all else that is done with it; nearly all are new,
 * and {@link RecentKeys} knows it of them. After a restore it does not know what was seen before, and each event is
 * looked up until that is forgotten.
 */
final class DistinctOperator extends AbstractStreamOperator<RowData>
        implements OneInputStreamOperator<RowData, RowData> {

    private static final long serialVersionUID = 1L;

    /** Of each subtask: 80 MB, and up to twice that. */
    private static final long MOST_KEYS = 40_000_000;

    private final long rememberedMs;

    private transient ValueState<Boolean> seen;
    private transient RecentKeys recent;

    /**
     * @param rememberedMs how long after the first event of a key others are held back, in processing time
     */
    DistinctOperator(long rememberedMs) {
        this.rememberedMs = rememberedMs;
    }

    @Override
    public void initializeState(StateInitializationContext context) throws Exception {
        super.initializeState(context);
        ValueStateDescriptor<Boolean> descriptor = new ValueStateDescriptor<>("seen", BooleanSerializer.INSTANCE);
        descriptor.enableTimeToLive(
                StateTtlConfig.newBuilder(Duration.ofMillis(rememberedMs))
                        .setUpdateType(StateTtlConfig.UpdateType.OnCreateAndWrite)
                        .setStateVisibility(StateTtlConfig.StateVisibility.NeverReturnExpired)
                        .build());
        seen = context.getKeyedStateStore().getState(descriptor);
        // the state's own clock; both look at it one after the other
        long slack = Duration.ofMinutes(1).toMillis();
        long now = System.currentTimeMillis();
        recent =
                new RecentKeys(
                        rememberedMs + slack, MOST_KEYS, context.isRestored() ? now + rememberedMs + slack : 0);
    }

    @Override
    public void processElement(StreamRecord<RowData> element) throws Exception {
        byte[] key = ((StringData) getCurrentKey()).toBytes();
        long now = System.currentTimeMillis();
        if (!recent.isNew(key, now) && seen.value() != null) {
            return;
        }
        seen.update(true);
        recent.add(key, now);
        output.collect(element);
    }
}
