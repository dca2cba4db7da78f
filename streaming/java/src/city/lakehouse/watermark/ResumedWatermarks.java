package city.lakehouse.watermark;

import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.Schema;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.utils.DataTypeUtils;

/** Puts a {@link ResumedWatermarkOperator} between a table and the views that read it. */
public final class ResumedWatermarks {

    private ResumedWatermarks() {}

    /**
     * Creates two views of {@code table}, both with its watermark, which survives a restore, and with the
     * processing time as {@code arrival}: {@code view} is read in the task of the source, {@code apart} in tasks of
     * its own.
     *
     * @param rowTime the column that the watermark is on
     */
    public static void createViews(
            StreamTableEnvironment tables, String table, String rowTime, String arrival, String view, String apart) {
        Table read = tables.from(table);
        DataType rows =
                DataTypes.ROW(
                                read.getResolvedSchema().getColumns().stream()
                                        .map(column -> DataTypes.FIELD(
                                                column.getName(), withoutKind(column.getDataType())))
                                        .toArray(DataTypes.Field[]::new))
                        .notNull()
                        .bridgedTo(RowData.class);
        DataStream<RowData> events = tables.toDataStream(read, rows);
        DataStream<RowData> resumed =
                events.transform("ResumedWatermark", events.getType(), new ResumedWatermarkOperator())
                        .uid("resumed-watermark");
        Schema schema =
                Schema.newBuilder()
                        .fromRowDataType(rows)
                        .columnByExpression(arrival, "PROCTIME()")
                        .watermark(rowTime, "SOURCE_WATERMARK()")
                        .build();
        tables.createTemporaryView(view, resumed, schema);
        tables.createTemporaryView(apart, resumed.rebalance(), schema);
    }

    /** The rowtime attribute as the plain timestamp that it is in a stream. */
    private static DataType withoutKind(DataType type) {
        return DataTypeUtils.removeTimeAttribute(type);
    }
}
