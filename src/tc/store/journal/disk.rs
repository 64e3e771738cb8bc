//! What the journal asks of a disk: one directory of files. The real one is [`Directory`]; the simulated one loses,
//! tears and refuses.
//!
//! A disk promises this much and no more:
//! - bytes written are safe once [`DiskFile::sync_data`] has returned without an error;
//! - a name made, changed or removed is safe once [`Disk::sync_directory`] has returned without an error;
//! - writing a sector again leaves those of its bytes that do not change as they were, also when power fails.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(unix)]
use std::os::unix::fs::FileExt;

/// A directory that holds one journal. Clones are the same directory.
pub trait Disk: Clone + Send + 'static {
    /// An open file.
    type File: DiskFile;

    /// The names in it, in any order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A new, empty file, for reading and writing; what was there under the name is gone.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// A file that is there, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name; a file that had it is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names safe.
    fn sync_directory(&self) -> io::Result<()>;

    /// A number that no other journal has: 64 bits that are unlikely to come twice.
    fn new_identity(&self) -> u64;

    /// Waits before a sync, to measure what a slower device would do.
    fn delay(&self, delay: std::time::Duration);
}

/// A file of a [`Disk`].
pub trait DiskFile: Send + 'static {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Fills `into` from `offset`; the file's end leaves the rest as it is. Returns how many bytes were read.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the bytes safe. After an error nothing is known about what was written since the last success.
    fn sync_data(&mut self) -> io::Result<()>;
}

/// A directory of the operating system, owned by one process at a time.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    /// Locked for as long as a clone lives; none for readers.
    _lock: Option<Arc<File>>,
}

impl Directory {
    /// Takes the directory, which is made when it is not there.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when another process has it, else what the operating system says.
    pub fn take(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            std::fs::create_dir_all(path)?;
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_NAME))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Self {
            path: path.to_path_buf(),
            _lock: Some(Arc::new(lock)),
        })
    }

    /// Looks at a directory that another process may own.
    pub(super) fn look(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            _lock: None,
        }
    }
}

impl Disk for Directory {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            // Names that are no UTF-8 are none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let write = self._lock.is_some();
        OpenOptions::new()
            .read(true)
            .write(write)
            .open(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "a name for a new journal, not a time"
    )]
    fn new_identity(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let nanos = since.map_or(0, |since| since.as_nanos() as u64);
        nanos ^ (u64::from(std::process::id()) << 48)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "an artificial delay, on the sync thread"
    )]
    fn delay(&self, delay: std::time::Duration) {
        std::thread::sleep(delay);
    }
}

#[cfg(unix)]
impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < into.len() {
            match FileExt::read_at(self, &mut into[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }
}

/// The file that the owning process keeps locked.
pub(super) const LOCK_NAME: &str = "lock";
