package city.lakehouse.watermark;

import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.table.data.RowData;

/**
 * Passes everything on and remembers the watermark in checkpoints.
 *
 * <p>A source begins without a watermark after a restore, while window operators restore theirs and drop what is
 * behind it. Until both agree again, {@code CURRENT_WATERMARK} would call an event on time that no window takes.
 * This operator announces the watermark of the checkpoint before the first event. It keeps the smallest of all
 * subtasks, as the window operators do ({@code WindowAggOperator}).
 */
public final class ResumedWatermarkOperator extends AbstractStreamOperator<RowData>
        implements OneInputStreamOperator<RowData, RowData> {

    private static final long serialVersionUID = 1L;

    private transient ListState<Long> checkpointed;
    private transient boolean announced;
    private transient long watermark;

    @Override
    public void initializeState(StateInitializationContext context) throws Exception {
        super.initializeState(context);
        watermark = Long.MIN_VALUE;
        checkpointed =
                context.getOperatorStateStore()
                        .getUnionListState(new ListStateDescriptor<>("watermark", LongSerializer.INSTANCE));
        if (context.isRestored()) {
            long smallest = Long.MAX_VALUE;
            for (long one : checkpointed.get()) {
                smallest = Math.min(smallest, one);
            }
            watermark = smallest == Long.MAX_VALUE ? Long.MIN_VALUE : smallest;
        }
        announced = watermark == Long.MIN_VALUE;
    }

    @Override
    public void snapshotState(StateSnapshotContext context) throws Exception {
        super.snapshotState(context);
        checkpointed.clear();
        checkpointed.add(watermark);
    }

    @Override
    public void processElement(StreamRecord<RowData> element) {
        announce();
        output.collect(element);
    }

    @Override
    public void processWatermark(Watermark mark) {
        announce();
        if (mark.getTimestamp() > watermark) {
            watermark = mark.getTimestamp();
            output.emitWatermark(mark);
        }
    }

    private void announce() {
        if (!announced) {
            announced = true;
            output.emitWatermark(new Watermark(watermark));
        }
    }
}
