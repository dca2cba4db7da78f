package city.lakehouse.format;

import java.util.HashSet;
import java.util.Set;

import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.formats.json.JsonFormatFactory;
import org.apache.flink.formats.json.JsonFormatOptions;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.format.DecodingFormat;
import org.apache.flink.table.connector.format.EncodingFormat;
import org.apache.flink.table.connector.sink.DynamicTableSink;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DeserializationFormatFactory;
import org.apache.flink.table.factories.DynamicTableFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.factories.SerializationFormatFactory;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.RowType;

/**
 * Format {@code event-json}: one JSON object a record, and a record that is not wholly as declared is left out.
 *
 * <p>Flink's own {@code json} with {@code ignore-parse-errors} turns a field that it cannot read into null, makes
 * several rows of an array, and catches whatever is thrown while a row is handed on, so that an error of an
 * operator chained to the source loses the row. Here a record is decoded first and handed on afterwards.
 *
 * <p>As a sink's format it writes what {@code json} with {@code timestamp-format.standard = ISO-8601} means, for the
 * types that columns of a contract have: without a tree of nodes and a date formatter for each row, which are most
 * of what that costs.
 */
public final class EventJsonFormatFactory implements DeserializationFormatFactory, SerializationFormatFactory {

    public static final ConfigOption<Integer> MAX_BYTES =
            ConfigOptions.key("max-bytes")
                    .intType()
                    .defaultValue(65_536)
                    .withDescription("Size of the largest record, in bytes; a larger one is left out.");

    @Override
    public String factoryIdentifier() {
        return "event-json";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of();
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        Set<ConfigOption<?>> options = new HashSet<>();
        options.add(MAX_BYTES);
        options.add(JsonFormatOptions.TIMESTAMP_FORMAT);
        return options;
    }

    @Override
    public DecodingFormat<DeserializationSchema<RowData>> createDecodingFormat(
            DynamicTableFactory.Context context, ReadableConfig options) {
        FactoryUtil.validateFactoryOptions(this, options);
        int maxBytes = options.get(MAX_BYTES);
        Configuration strict = new Configuration();
        strict.set(JsonFormatOptions.IGNORE_PARSE_ERRORS, false);
        strict.set(JsonFormatOptions.TIMESTAMP_FORMAT, options.get(JsonFormatOptions.TIMESTAMP_FORMAT));
        DecodingFormat<DeserializationSchema<RowData>> json =
                new JsonFormatFactory().createDecodingFormat(context, strict);
        return new DecodingFormat<>() {
            @Override
            public DeserializationSchema<RowData> createRuntimeDecoder(
                    DynamicTableSource.Context sourceContext, DataType physicalDataType) {
                return new EventJsonDeserializationSchema(
                        json.createRuntimeDecoder(sourceContext, physicalDataType), maxBytes);
            }

            @Override
            public ChangelogMode getChangelogMode() {
                return ChangelogMode.insertOnly();
            }
        };
    }

    @Override
    public EncodingFormat<SerializationSchema<RowData>> createEncodingFormat(
            DynamicTableFactory.Context context, ReadableConfig options) {
        FactoryUtil.validateFactoryOptions(this, options);
        return new EncodingFormat<>() {
            @Override
            public SerializationSchema<RowData> createRuntimeEncoder(
                    DynamicTableSink.Context sinkContext, DataType physicalDataType) {
                return new EventJsonSerializationSchema((RowType) physicalDataType.getLogicalType());
            }

            @Override
            public ChangelogMode getChangelogMode() {
                return ChangelogMode.insertOnly();
            }
        };
    }
}
