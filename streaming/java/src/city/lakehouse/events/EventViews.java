package city.lakehouse.events;

import city.lakehouse.distinct.Distinct;
import city.lakehouse.watermark.ResumedWatermarkOperator;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.Schema;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.utils.DataTypeUtils;

/** Views of a table's rows, with its watermark, which survives a restore. */
public final class EventViews {

    private final StreamTableEnvironment tables;
    private final DataStream<RowData> rows;
    private final Schema schema;
    private final Table read;

    /**
     * @param table   the table or view to read
     * @param rowTime the column that the watermark is on
     * @param arrival the column of the processing time that the views have in addition
     */
    public EventViews(StreamTableEnvironment tables, String table, String rowTime, String arrival) {
        this.tables = tables;
        this.read = tables.from(table);
        DataType type =
                DataTypes.ROW(
                                read.getResolvedSchema().getColumns().stream()
                                        .map(column -> DataTypes.FIELD(
                                                column.getName(), withoutKind(column.getDataType())))
                                        .toArray(DataTypes.Field[]::new))
                        .notNull()
                        .bridgedTo(RowData.class);
        DataStream<RowData> events = tables.toDataStream(read, type);
        this.rows =
                events.transform("ResumedWatermark", events.getType(), new ResumedWatermarkOperator())
                        .uid("resumed-watermark");
        this.schema =
                Schema.newBuilder()
                        .fromRowDataType(type)
                        .columnByExpression(arrival, "PROCTIME()")
                        .watermark(rowTime, "SOURCE_WATERMARK()")
                        .build();
    }

    /** Creates a view that is read in the task of the source. */
    public void create(String view) {
        tables.createTemporaryView(view, rows, schema);
    }

    /** Creates a view that is read in tasks of its own. */
    public void createApart(String view) {
        tables.createTemporaryView(view, rows.rebalance(), schema);
    }

    /**
     * Creates a view of the rows of which none had the same text in {@code column} within {@code rememberedMs}
     * milliseconds of processing time before.
     */
    public void createDistinct(String view, String column, long rememberedMs) {
        int position = read.getResolvedSchema().getColumnNames().indexOf(column);
        tables.createTemporaryView(view, Distinct.by(rows, position, rememberedMs), schema);
    }

    /** The rowtime attribute as the plain timestamp that it is in a stream. */
    private static DataType withoutKind(DataType type) {
        return DataTypeUtils.removeTimeAttribute(type);
    }
}
