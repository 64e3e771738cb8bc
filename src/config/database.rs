//! The database of the SQL store: a URL of ours, or what Seata's keys say together (coordinator.md 7.2).

use super::{Error, Settings, Source};
use crate::tc::store::sql::{DatabaseUrl, JavaCoordinators, SqlConfig};

/// The settings of a store on the database of `store.mode`, which is a URL.
pub(super) fn of_url(settings: &Settings, notes: &mut Vec<String>) -> Result<SqlConfig, Error> {
    let url = settings.text("store.mode").unwrap_or_default();
    for name in ["store.db.url", "store.db.user", "store.db.password"] {
        if *settings.source(name) != Source::Default {
            notes.push(format!(
                "{name} has no effect: store.mode names the database"
            ));
        }
    }
    let url = DatabaseUrl::parse(url).map_err(|problem| settings.refuse("store.mode", problem))?;
    with(settings, url)
}

/// The settings of a store on the database of `store.db.url`, as `store.mode = db` wants it.
pub(super) fn of_seata(settings: &Settings, notes: &mut Vec<String>) -> Result<SqlConfig, Error> {
    let name = "store.db.url";
    let Some(written) = settings.text(name) else {
        let problem = "store.mode = db needs it: jdbc:mysql://HOST:PORT/DATABASE or jdbc:postgresql://HOST:PORT/DATABASE; \
                       or give the URL of the database as store.mode";
        return Err(settings.refuse(name, problem));
    };
    if settings.text("store.public-key").is_some() {
        let problem = "encrypted passwords are not supported: leave it empty and give store.db.password, or its \
                       environment variable SEAMIO_STORE_DB_PASSWORD, as it is";
        return Err(settings.refuse("store.public-key", problem));
    }
    let user = settings.text("store.db.user");
    let password = settings.text("store.db.password");
    let read = match written.get(..5) {
        Some(jdbc) if jdbc.eq_ignore_ascii_case("jdbc:") => Jdbc::read(&written[5..]),
        _ => Jdbc::ours(written),
    };
    let mut read = read.map_err(|problem| settings.refuse(name, problem))?;
    if !read.ignored.is_empty() {
        notes.push(format!(
            "{name}: parameters of the JDBC driver have no effect: {}",
            read.ignored.join(", ")
        ));
    }
    if let Some(kind) = settings.text("store.db.db-type") {
        let fits = match kind.to_ascii_lowercase().as_str() {
            "mysql" | "mariadb" => read.scheme == "mysql",
            "postgresql" => read.scheme == "postgres",
            _ => {
                let problem = format!("expected mysql, mariadb or postgresql, got \"{kind}\"");
                return Err(settings.refuse("store.db.db-type", problem));
            }
        };
        if !fits {
            let problem = format!("store.db.url is not one of {kind}");
            return Err(settings.refuse("store.db.db-type", problem));
        }
    }
    read.user = user.map(str::to_owned).or(read.user);
    read.password = password.map(str::to_owned).or(read.password);
    let url = DatabaseUrl::parse(&read.url());
    with(
        settings,
        url.map_err(|problem| settings.refuse(name, problem))?,
    )
}

/// The address and the limits are set by the server.
fn with(settings: &Settings, url: DatabaseUrl) -> Result<SqlConfig, Error> {
    for (name, only) in TABLES {
        if settings.text(name) != Some(*only) {
            let problem =
                format!("the table has to be called {only}: other names are not supported");
            return Err(settings.refuse(name, problem));
        }
    }
    Ok(SqlConfig {
        connections: settings.size("store.sql.connections"),
        batch_max: settings.size("store.sql.batch-max"),
        statement_timeout: settings.time("store.sql.statement-timeout"),
        retry_for: settings.time("store.sql.retry-for"),
        lease: settings.time("store.sql.lease"),
        java: match settings.text("store.sql.java") {
            Some("none") => JavaCoordinators::None,
            _ => JavaCoordinators::Beside,
        },
        ..SqlConfig::new(url, "")
    })
}

/// What a JDBC URL says.
#[derive(Default)]
struct Jdbc {
    scheme: &'static str,
    /// Host and port.
    place: String,
    /// As it was written: encoded, if it had to be.
    database: String,
    user: Option<String>,
    password: Option<String>,
    /// How encryption is asked for; the parameter that says it most clearly counts.
    ssl_mode: Option<(Clarity, String)>,
    /// In our words, encoded.
    parameters: Vec<String>,
    /// Names of parameters that mean nothing here.
    ignored: Vec<String>,
}

/// Of the parameters about encryption, the least clear first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Clarity {
    Use,
    Require,
    Mode,
}

impl Jdbc {
    /// Reads what stands behind `jdbc:`. The error never repeats it.
    fn read(text: &str) -> Result<Self, String> {
        let (driver, rest) = text.split_once(':').unwrap_or((text, ""));
        let scheme = match driver.to_ascii_lowercase().as_str() {
            "mysql" | "mariadb" => "mysql",
            "postgresql" => "postgres",
            _ => {
                return Err("expected jdbc:mysql://, jdbc:mariadb:// or jdbc:postgresql://".into());
            }
        };
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, database) = match place.strip_prefix("//") {
            Some(place) => place.split_once('/').unwrap_or((place, "")),
            None if scheme == "postgres" => ("localhost", place),
            None => {
                return Err("one server has to be named: jdbc:mysql://HOST:PORT/DATABASE".into());
            }
        };
        if place.contains([',', '(', ' ']) {
            let problem =
                "one server has to be named, the primary: lists of servers are not supported";
            return Err(problem.into());
        }
        if place.contains('@') {
            return Err(
                "give the user as store.db.user and the password as store.db.password".into(),
            );
        }
        let mut read = Self {
            scheme,
            place: place.to_owned(),
            database: database.to_owned(),
            ..Self::default()
        };
        for pair in parameters.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            read.parameter(name, value)?;
        }
        Ok(read)
    }

    /// A URL that is none of JDBC's, for a user and a password that are given beside it.
    fn ours(text: &str) -> Result<Self, String> {
        let problem = "expected jdbc:mysql://, jdbc:mariadb://, jdbc:postgresql://, or the same without jdbc:";
        let (scheme, rest) = text.split_once("://").ok_or(problem)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "mysql" | "mariadb" => "mysql",
            "postgres" | "postgresql" => "postgres",
            _ => return Err(problem.into()),
        };
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (who, place) = match place.rsplit_once('@') {
            Some((who, place)) => (Some(who), place),
            None => (None, place),
        };
        let (place, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, password) = match who {
            Some(who) => who
                .split_once(':')
                .map_or((Some(who), None), |(u, p)| (Some(u), Some(p))),
            None => (None, None),
        };
        Ok(Self {
            scheme,
            place: place.to_owned(),
            database: database.to_owned(),
            user: user.map(decoded),
            password: password.map(decoded),
            parameters: parameters
                .split('&')
                .filter(|p| !p.is_empty())
                .map(str::to_owned)
                .collect(),
            ..Self::default()
        })
    }

    /// What a parameter of a JDBC driver means here.
    fn parameter(&mut self, name: &str, value: &str) -> Result<(), String> {
        let mysql = self.scheme == "mysql";
        let lower = name.to_ascii_lowercase();
        let on = value.eq_ignore_ascii_case("true") || (value.is_empty() && lower == "ssl");
        let mode = match lower.as_str() {
            "user" => {
                self.user = Some(decoded(value));
                return Ok(());
            }
            "password" => {
                self.password = Some(decoded(value));
                return Ok(());
            }
            "currentschema" if !mysql => {
                let path = value.replace("%2C", ",").replace("%2c", ",");
                self.parameters.push(format!("options[search_path]={path}"));
                return Ok(());
            }
            "usessl" if mysql && on => (Clarity::Use, "PREFERRED".to_owned()),
            "usessl" if mysql => (Clarity::Use, "DISABLED".to_owned()),
            "requiressl" if mysql && on => (Clarity::Require, "REQUIRED".to_owned()),
            "ssl" if !mysql && on => (Clarity::Require, "require".to_owned()),
            "sslmode" if mysql => {
                let mode = match value.to_ascii_lowercase().as_str() {
                    "trust" => "REQUIRED".to_owned(),
                    "disable" => "DISABLED".to_owned(),
                    "verify-ca" => "VERIFY_CA".to_owned(),
                    "verify-full" => "VERIFY_IDENTITY".to_owned(),
                    _ => value.to_ascii_uppercase(),
                };
                (Clarity::Mode, mode)
            }
            "sslmode" => (Clarity::Mode, value.to_owned()),
            // They would change what is trusted; a file of Java's is not read.
            "sslrootcert"
            | "sslcert"
            | "sslkey"
            | "trustcertificatekeystoreurl"
            | "serversslcert" => {
                return Err(format!(
                    "{name} is not supported: give the URL of the database as store.mode, with ssl-ca"
                ));
            }
            _ => {
                self.ignored.push(name.to_owned());
                return Ok(());
            }
        };
        if self
            .ssl_mode
            .as_ref()
            .is_none_or(|(clarity, _)| *clarity <= mode.0)
        {
            self.ssl_mode = Some(mode);
        }
        Ok(())
    }

    /// The same as a URL of ours.
    fn url(&self) -> String {
        let who = match (&self.user, &self.password) {
            (None, None) => String::new(),
            (user, None) => format!("{}@", encoded(user.as_deref().unwrap_or_default())),
            (user, Some(password)) => format!(
                "{}:{}@",
                encoded(user.as_deref().unwrap_or_default()),
                encoded(password)
            ),
        };
        let ssl_mode = self
            .ssl_mode
            .iter()
            .map(|(_, mode)| format!("ssl-mode={mode}"));
        let parameters: Vec<_> = self.parameters.iter().cloned().chain(ssl_mode).collect();
        let parameters = match parameters.join("&") {
            none if none.is_empty() => none,
            some => format!("?{some}"),
        };
        format!(
            "{}://{who}{}/{}{parameters}",
            self.scheme, self.place, self.database
        )
    }
}

/// With `%` and two digits for every byte that could mean something in a URL.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .fold(String::new(), |text, byte| match plain(byte) {
            true => text + char::from(byte).encode_utf8(&mut [0; 4]),
            false => format!("{text}%{byte:02X}"),
        })
}

/// What [`encoded`] was made from. A `%` that no two digits follow is one.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let digits = more
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits
            .filter(|_| *first == b'%')
            .and_then(|d| u8::from_str_radix(d, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &more[2..] } else { more };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Seata lets them have other names.
const TABLES: &[(&str, &str)] = &[
    ("store.db.global-table", "global_table"),
    ("store.db.branch-table", "branch_table"),
    ("store.db.lock-table", "lock_table"),
    ("store.db.distributed-lock-table", "distributed_lock"),
    ("store.db.vgroup-table", "vgroup_table"),
];

#[cfg(test)]
mod tests {
    use super::super::{Serving, Settings};
    use super::*;
    use crate::tc::server::StoreChoice;

    fn jdbc(text: &str) -> Result<String, String> {
        Jdbc::read(text.strip_prefix("jdbc:").expect("jdbc:")).map(|read| read.url())
    }

    fn settings(file: &str) -> Settings {
        Settings::resolve(&[], &[], Some(("f", file))).expect(file)
    }

    fn config(file: &str) -> (SqlConfig, Vec<String>) {
        let serving = Serving::from_settings(&settings(file)).expect(file);
        match serving.server.store {
            StoreChoice::Sql(config) => (config, serving.notes),
            other => panic!("{other:?}"),
        }
    }

    fn refused(file: &str) -> Error {
        Serving::from_settings(&settings(file)).expect_err(file)
    }

    #[test]
    fn jdbc_urls_mean_the_same_place() {
        for (written, ours) in [
            ("jdbc:mysql://h:3306/d", "mysql://h:3306/d"),
            (
                "jdbc:mysql://h/d?rewriteBatchedStatements=true&useSSL=false&serverTimezone=UTC",
                "mysql://h/d?ssl-mode=DISABLED",
            ),
            (
                "jdbc:mariadb://h/d?sslMode=verify-full&useSSL=false",
                "mysql://h/d?ssl-mode=VERIFY_IDENTITY",
            ),
            (
                "jdbc:mysql://h/d?user=u&password=a%26b",
                "mysql://u:a%26b@h/d",
            ),
            (
                "jdbc:postgresql://h:5432/d?currentSchema=seata",
                "postgres://h:5432/d?options[search_path]=seata",
            ),
            (
                "jdbc:postgresql://h/d?ssl=true",
                "postgres://h/d?ssl-mode=require",
            ),
            ("jdbc:postgresql:d", "postgres://localhost/d"),
        ] {
            assert_eq!(jdbc(written).as_deref(), Ok(ours));
            DatabaseUrl::parse(ours).expect(ours);
        }
        for (written, part) in [
            ("jdbc:oracle:thin:@h:1521:x", "jdbc:mysql://"),
            ("jdbc:h2:mem", "jdbc:mysql://"),
            ("jdbc:mysql:loadbalance://h1,h2/d", "one server"),
            ("jdbc:mysql://h1:3306,h2:3306/d", "lists of servers"),
            (
                "jdbc:mysql://address=(host=h)(port=1)/d",
                "lists of servers",
            ),
            ("jdbc:mysql://u:secret@h/d", "store.db.password"),
            ("jdbc:postgresql://h/d?sslrootcert=f", "not supported"),
        ] {
            let problem = jdbc(written).expect_err(written);
            assert!(
                problem.contains(part) && !problem.contains("secret"),
                "{problem}"
            );
        }
    }

    #[test]
    fn keys_of_seata_make_the_url() {
        let file = "[store]\nmode = 'db'\n[store.db]\ndbType = 'mysql'\nuser = 'seata'\npassword = 'p@ss/w?rd'\n\
                    url = 'jdbc:mysql://h:3307/seata?rewriteBatchedStatements=true'\nmaxConn = 30\n";
        let (config, notes) = config(file);
        let same = "mysql://seata:p%40ss%2Fw%3Frd@h:3307/seata";
        assert_eq!(config.url, DatabaseUrl::parse(same).expect(same));
        assert_eq!(config.url.to_string(), "mysql://h:3307/seata");
        assert!(
            notes
                .iter()
                .any(|note| note.contains("rewriteBatchedStatements")),
            "{notes:?}"
        );
        let ours = "store.mode = 'db'\nstore.db.url = 'postgres://u:p@h/d?ssl-mode=disable'\n";
        assert_eq!(
            super::tests::config(ours).0.url.to_string(),
            "postgres://h/d"
        );
        assert_eq!(decoded(&encoded("a%b ü/@:")), "a%b ü/@:");
        assert_eq!(decoded("100%"), "100%");
    }

    #[test]
    fn a_url_is_a_store_and_its_keys_are_taken() {
        let file = "store.mode = 'postgres://u:secret@h/d'\n[store.sql]\nconnections = 4\nbatch-max = 64\n\
                    statement-timeout = '3s'\nretry-for = '1m'\nlease = '6s'\njava = 'none'\n";
        let (config, _) = config(file);
        let seconds = std::time::Duration::from_secs;
        let expected = SqlConfig {
            connections: 4,
            batch_max: 64,
            statement_timeout: seconds(3),
            retry_for: seconds(60),
            lease: seconds(6),
            java: JavaCoordinators::None,
            ..SqlConfig::new(
                DatabaseUrl::parse("postgres://u:secret@h/d").expect("a URL"),
                "",
            )
        };
        assert_eq!(config, expected);
        let plain = super::tests::config("store.mode = 'sqlite://f'\n").0;
        let defaults = SqlConfig::new(DatabaseUrl::parse("sqlite://f").expect("a URL"), "");
        assert_eq!(
            plain, defaults,
            "the defaults of the keys are those of the store"
        );
    }

    #[test]
    fn no_password_is_shown() {
        let file = "store.mode = 'mysql://u:secret@h/d'\nstore.db.password = 'secret'\n\
                    store.db.url = 'jdbc:mysql://h/d?password=secret'\n";
        let settings = settings(file);
        let listed: String = settings
            .iter()
            .map(|(_, value, _)| format!("{value} "))
            .collect();
        let serving = Serving::from_settings(&settings).expect("valid");
        assert!(!format!("{listed} {settings:?} {serving:?}").contains("secret"));
        assert_eq!(serving.notes.len(), 2, "{:?}", serving.notes);
        for wrong in [
            "store.mode = 'mysql://u:secret@h'\n",
            "store.mode = 'mysql://u:secret@h:x/d'\n",
            "store.mode = 'oracle://u:secret@h/d'\n",
            "store.mode = 'db'\nstore.db.url = 'jdbc:mysql://u:secret@h/d'\n",
            "store.mode = 'db'\nstore.db.url = 'secret'\n",
            "store.mode = 'mysql://u:secret@h/d'\nstore.lock.mode = 'mysql://u:secret@other/d'\n",
        ] {
            let error = refused(wrong);
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        let db = "store.mode = 'db'\nstore.db.url = 'jdbc:mysql://h/d'\n";
        for (more, key, part) in [
            (
                "store.db.lockTable = 'locks'",
                "store.db.lock-table",
                "called lock_table",
            ),
            (
                "store.db.dbType = 'postgresql'",
                "store.db.db-type",
                "is not one of",
            ),
            (
                "store.db.dbType = 'oracle'",
                "store.db.db-type",
                "mysql, mariadb or postgresql",
            ),
            (
                "store.publicKey = 'MFww'",
                "store.public-key",
                "SEAMIO_STORE_DB_PASSWORD",
            ),
        ] {
            let error = refused(&format!("{db}{more}\n"));
            assert_eq!(
                (error.place.as_str(), error.key.as_deref()),
                ("f:3", Some(key))
            );
            assert!(error.problem.contains(part), "{error}");
        }
        let error = refused("store.mode = 'db'\n");
        assert_eq!(error.key.as_deref(), Some("store.db.url"));
        assert!(Settings::resolve(&[], &[], Some(("f", "store.sql.java = 'both'\n"))).is_err());
        // A journal does not care.
        let journal = settings("store.db.lockTable = 'locks'\n");
        assert!(Serving::from_settings(&journal).is_ok());
    }
}
