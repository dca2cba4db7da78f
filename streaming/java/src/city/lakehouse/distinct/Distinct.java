package city.lakehouse.distinct;

import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.binary.BinaryStringData;
import org.apache.flink.table.runtime.typeutils.StringDataTypeInfo;

/** The distinct events of a stream. */
public final class Distinct {

    private Distinct() {}

    /**
     * The first of each events with the same text in the column at {@code position}, where others follow within
     * {@code rememberedMs} milliseconds of processing time.
     */
    public static SingleOutputStreamOperator<RowData> by(
            DataStream<RowData> events, int position, long rememberedMs) {
        // a copy: the text is part of a row that is used again
        KeySelector<RowData, StringData> key = row -> ((BinaryStringData) row.getString(position)).copy();
        return events.keyBy(key, StringDataTypeInfo.INSTANCE)
                .transform("Deduplicate", events.getType(), new DistinctOperator(rememberedMs))
                .uid("distinct");
    }
}
