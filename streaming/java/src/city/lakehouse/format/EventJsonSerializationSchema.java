package city.lakehouse.format;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;

import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonEncoding;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.SerializableString;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.StreamWriteFeature;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.io.SerializedString;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.logical.LocalZonedTimestampType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.RowType;

/** Writes a row as one JSON object, straight to bytes, see {@link EventJsonFormatFactory}. */
final class EventJsonSerializationSchema implements SerializationSchema<RowData> {

    private static final long serialVersionUID = 1L;

    private static final int EXPECTED_BYTES = 512;

    private final RowType type;

    private transient ByteArrayOutputStream bytes;
    private transient JsonGenerator generator;
    private transient FieldWriter[] writers;
    private transient SerializableString[] names;

    /**
     * @throws ValidationException where a field has a type that no column of a contract has
     */
    EventJsonSerializationSchema(RowType type) {
        this.type = type;
        writers(type, new InstantText());
    }

    @Override
    public void open(InitializationContext context) throws IOException {
        bytes = new ByteArrayOutputStream(EXPECTED_BYTES);
        JsonFactory json =
                JsonFactory.builder().enable(StreamWriteFeature.USE_FAST_DOUBLE_WRITER).build();
        // one for all rows: it is looked up where the thread keeps its buffers
        generator = json.createGenerator(bytes, JsonEncoding.UTF8).setRootValueSeparator(null);
        names = type.getFieldNames().stream().map(SerializedString::new).toArray(SerializableString[]::new);
        writers = writers(type, new InstantText());
    }

    @Override
    public byte[] serialize(RowData row) {
        bytes.reset();
        try {
            generator.writeStartObject();
            for (int field = 0; field < writers.length; field++) {
                generator.writeFieldName(names[field]);
                if (row.isNullAt(field)) {
                    generator.writeNull();
                } else {
                    writers[field].write(row, field, generator);
                }
            }
            generator.writeEndObject();
            generator.flush();
        } catch (IOException failed) {
            throw new UncheckedIOException("a row is not writable as JSON: " + row, failed);
        }
        return bytes.toByteArray();
    }

    private static FieldWriter[] writers(RowType type, InstantText instants) {
        return type.getChildren().stream().map(field -> writer(field, instants)).toArray(FieldWriter[]::new);
    }

    private static FieldWriter writer(LogicalType type, InstantText instants) {
        switch (type.getTypeRoot()) {
            case CHAR:
            case VARCHAR:
                return (row, field, generator) -> {
                    byte[] utf8 = row.getString(field).toBytes();
                    generator.writeUTF8String(utf8, 0, utf8.length);
                };
            case BOOLEAN:
                return (row, field, generator) -> generator.writeBoolean(row.getBoolean(field));
            case INTEGER:
                return (row, field, generator) -> generator.writeNumber(row.getInt(field));
            case BIGINT:
                return (row, field, generator) -> generator.writeNumber(row.getLong(field));
            case DOUBLE:
                return (row, field, generator) -> generator.writeNumber(row.getDouble(field));
            case TIMESTAMP_WITH_LOCAL_TIME_ZONE:
                int precision = ((LocalZonedTimestampType) type).getPrecision();
                return (row, field, generator) -> {
                    int length = instants.write(row.getTimestamp(field, precision));
                    generator.writeString(instants.characters(), 0, length);
                };
            default:
                throw new ValidationException("event-json writes no " + type.asSummaryString());
        }
    }

    /** Writes the value of a field that is not null. */
    private interface FieldWriter {
        void write(RowData row, int field, JsonGenerator generator) throws IOException;
    }
}
