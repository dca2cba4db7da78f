package city.lakehouse.format;

import java.io.IOException;
import java.util.Objects;
import java.util.Optional;

import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.table.data.RowData;
import org.apache.flink.util.Collector;
import org.apache.flink.util.ExceptionUtils;

/** Decodes a record with the wrapped schema and leaves it out when that fails, see {@link EventJsonFormatFactory}. */
final class EventJsonDeserializationSchema implements DeserializationSchema<RowData> {

    private static final long serialVersionUID = 1L;

    private final DeserializationSchema<RowData> json;
    private final int maxBytes;

    private transient Decoded decoded;

    EventJsonDeserializationSchema(DeserializationSchema<RowData> json, int maxBytes) {
        this.json = json;
        this.maxBytes = maxBytes;
    }

    @Override
    public void open(InitializationContext context) throws Exception {
        decoded = new Decoded();
        json.open(context);
    }

    @Override
    public void deserialize(byte[] record, Collector<RowData> out) {
        if (record == null || record.length > maxBytes || !isObject(record)) {
            return;
        }
        decoded.row = null;
        try {
            json.deserialize(record, decoded);
        } catch (IOException failed) {
            // Flink wraps whatever it catches, also what says nothing of the record, such as an OutOfMemoryError
            Optional<Error> fatal = ExceptionUtils.findThrowable(failed, Error.class);
            if (fatal.isPresent()) {
                throw fatal.get();
            }
            return;
        }
        if (decoded.row != null) {
            out.collect(decoded.row);
        }
    }

    private static boolean isObject(byte[] record) {
        for (byte character : record) {
            if (character != ' ' && character != '\t' && character != '\n' && character != '\r') {
                return character == '{';
            }
        }
        return false;
    }

    @Override
    public RowData deserialize(byte[] record) {
        throw new UnsupportedOperationException("a record may hold no row: use the method with a collector");
    }

    @Override
    public boolean isEndOfStream(RowData nextElement) {
        return false;
    }

    @Override
    public TypeInformation<RowData> getProducedType() {
        return json.getProducedType();
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof EventJsonDeserializationSchema that
                && json.equals(that.json)
                && maxBytes == that.maxBytes;
    }

    @Override
    public int hashCode() {
        return Objects.hash(json, maxBytes);
    }

    /** Keeps the row of a record until all of the record is decoded. */
    private static final class Decoded implements Collector<RowData> {

        private RowData row;

        @Override
        public void collect(RowData decodedRow) {
            row = decodedRow;
        }

        @Override
        public void close() {}
    }
}
