package city.lakehouse.format;

import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;

import org.apache.flink.table.data.TimestampData;

/**
 * Writes instants as RFC 3339 has them, in UTC and with milliseconds or, where there are some, microseconds.
 *
 * <p>Many events of a stream share their second: its text is kept.
 */
final class InstantText {

    private static final DateTimeFormatter SECOND = DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss");
    private static final int SECOND_LENGTH = 19;
    private static final int MILLISECOND_DIGITS = 3;
    private static final int MICROSECOND_DIGITS = 6;

    private final char[] text = new char[SECOND_LENGTH + 1 + MICROSECOND_DIGITS + 1];
    private long second = Long.MIN_VALUE;

    /** Where the last instant was written to. */
    char[] characters() {
        return text;
    }

    /** Writes {@code instant}, of a year with four digits, and returns the length of its text. */
    int write(TimestampData instant) {
        long milliseconds = instant.getMillisecond();
        writeSecond(Math.floorDiv(milliseconds, 1000L));
        int microseconds =
                Math.floorMod(milliseconds, 1000) * 1000 + instant.getNanoOfMillisecond() / 1000;
        boolean whole = microseconds % 1000 == 0;
        int digits = whole ? MILLISECOND_DIGITS : MICROSECOND_DIGITS;
        int rest = whole ? microseconds / 1000 : microseconds;
        for (int place = SECOND_LENGTH + digits; place > SECOND_LENGTH; place--) {
            text[place] = (char) ('0' + rest % 10);
            rest /= 10;
        }
        text[SECOND_LENGTH] = '.';
        text[SECOND_LENGTH + digits + 1] = 'Z';
        return SECOND_LENGTH + digits + 2;
    }

    private void writeSecond(long epochSecond) {
        if (epochSecond != second) {
            SECOND.format(LocalDateTime.ofEpochSecond(epochSecond, 0, ZoneOffset.UTC))
                    .getChars(0, SECOND_LENGTH, text, 0);
            second = epochSecond;
        }
    }
}
