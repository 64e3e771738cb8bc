package mixed;

import io.seata.rm.datasource.DataSourceProxy;
import java.io.PrintWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.logging.Logger;
import javax.sql.DataSource;

/** One database behind the client's proxy: its resource of AT branches. */
final class Database {
    private final DataSourceProxy proxy;

    Database(String url, String properties, String user, String password) {
        proxy = new DataSourceProxy(new Plain(url + properties, user, password));
    }

    String resourceId() {
        return proxy.getResourceId();
    }

    /** One local transaction: all statements, then the commit that registers the branch. Answers with the rows changed. */
    String local(List<String> statements) throws SQLException {
        List<String> counts = new ArrayList<>();
        try (Connection connection = proxy.getConnection()) {
            connection.setAutoCommit(false);
            try {
                for (String sql : statements) {
                    try (PreparedStatement statement = connection.prepareStatement(sql)) {
                        counts.add(Integer.toString(statement.executeUpdate()));
                    }
                }
                connection.commit();
            } catch (SQLException | RuntimeException e) {
                connection.rollback();
                throw e;
            }
        }
        return String.join(",", counts);
    }

    /** A query in a local transaction of its own; answers with the first column of the rows. */
    String select(String sql) throws SQLException {
        List<String> rows = new ArrayList<>();
        try (Connection connection = proxy.getConnection()) {
            connection.setAutoCommit(false);
            try (PreparedStatement statement = connection.prepareStatement(sql); ResultSet found = statement.executeQuery()) {
                while (found.next()) {
                    rows.add(found.getString(1));
                }
            } finally {
                connection.rollback();
            }
        }
        return String.join(",", rows);
    }

    /** Connections straight from the driver: a pool would add nothing here. */
    private static final class Plain implements DataSource {
        private final String url;
        private final String user;
        private final String password;

        Plain(String url, String user, String password) {
            this.url = url;
            this.user = user;
            this.password = password;
        }

        @Override
        public Connection getConnection() throws SQLException {
            return DriverManager.getConnection(url, user, password);
        }

        @Override
        public Connection getConnection(String otherUser, String otherPassword) throws SQLException {
            return DriverManager.getConnection(url, otherUser, otherPassword);
        }

        @Override
        public PrintWriter getLogWriter() {
            return null;
        }

        @Override
        public void setLogWriter(PrintWriter writer) {
            // The driver's own log is not wanted.
        }

        @Override
        public void setLoginTimeout(int seconds) {
            DriverManager.setLoginTimeout(seconds);
        }

        @Override
        public int getLoginTimeout() {
            return DriverManager.getLoginTimeout();
        }

        @Override
        public Logger getParentLogger() {
            return Logger.getLogger(Logger.GLOBAL_LOGGER_NAME);
        }

        @Override
        public <T> T unwrap(Class<T> type) throws SQLException {
            throw new SQLException("wraps nothing");
        }

        @Override
        public boolean isWrapperFor(Class<?> type) {
            return false;
        }
    }
}
