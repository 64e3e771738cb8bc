//! What a TM says about itself when it registers, signed if there is a key (wire.md 6.3).

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::proto::Text;

/// Access key and secret key; both empty where none are used.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

impl Credentials {
    /// The lines of a registration. `ip` is the address of this end of the connection.
    pub(crate) fn extra_data(&self, group: &str, ip: Option<IpAddr>, epoch_ms: u64) -> Text {
        let ip = ip.map_or_else(|| "127.0.0.1".to_owned(), |ip| ip.to_string());
        let access_key = match self.access_key.as_str() {
            "" => "null",
            key => key,
        };
        let source = format!("{group},{ip},{epoch_ms}");
        let digest = match self.secret_key.as_str() {
            "" => source,
            key => sign(key, &source, epoch_ms),
        };
        let text = format!(
            "ak={access_key}\ndigest={digest}\ntimestamp={epoch_ms}\nauthVersion=V4\nvgroup={group}\nip={ip}\n"
        );
        text.into()
    }
}

/// Version 4 of the signature.
fn sign(secret: &str, source: &str, epoch_ms: u64) -> String {
    let mut key = hmac(
        format!("aliyun_v4{secret}").as_bytes(),
        day(epoch_ms).as_bytes(),
    );
    for part in ["cn-beijing", "seata", "aliyun_v4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    STANDARD.encode(hmac(&key, source.as_bytes()))
}

/// `yyyyMMdd` in UTC.
fn day(epoch_ms: u64) -> String {
    // Days since 0000-03-01, so that the leap day is the last of its year.
    let days = epoch_ms / 86_400_000 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}")
}

fn hmac(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_seata_does() {
        let source = "default_tx_group,127.0.0.1,1700000000000";
        assert_eq!(
            sign("secretKey", source, 1_700_000_000_000),
            "7rCee70sjYOc7NdB6j15KzwkPrUs/CVp1ClfRyyDzPo="
        );
    }

    #[test]
    fn says_null_and_signs_nothing_without_keys() {
        let text = Credentials::default().extra_data("g", None, 5);
        assert_eq!(
            text,
            "ak=null\ndigest=g,127.0.0.1,5\ntimestamp=5\nauthVersion=V4\nvgroup=g\nip=127.0.0.1\n"
        );
    }

    #[test]
    fn days_follow_the_calendar() {
        for (epoch_ms, expected) in [
            (0, "19700101"),
            (951_782_400_000, "20000229"),
            (1_700_000_000_000, "20231114"),
            (1_709_251_199_999, "20240229"),
            (1_709_251_200_000, "20240301"),
            (4_107_542_400_000, "21000301"),
        ] {
            assert_eq!(day(epoch_ms), expected);
        }
    }
}
