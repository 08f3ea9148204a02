//! A Postgres and a Redis of a test's own, to be restarted and wiped while others work.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cqm_testkit::environment;

/// Nobody: Postgres refuses to run as root.
const NOBODY: u32 = 65534;

/// A Postgres on a unix socket. Its commits are as durable as in production as far as a crash of Postgres goes;
/// only the machine's own crash, which no test makes, could lose them.
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    /// Settings over those of every test.
    settings: Vec<String>,
    server: Option<Child>,
}

impl Postgres {
    /// Makes a cluster below `folder` and starts it.
    pub fn start(folder: &Path, databases: &[&str]) -> Self {
        let programs = PathBuf::from(environment("CQM_TEST_POSTGRES_BIN"));
        let folder = folder.join("postgres");
        fs::create_dir(&folder).expect("a folder for Postgres");
        if is_root() {
            std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).expect("root gives folders away");
        }
        let mut postgres = Self { programs, folder, settings: Vec::new(), server: None };
        let data = postgres.folder.join("data");
        let made = postgres
            .command("initdb")
            .args([
                "--username",
                "cqm",
                "--auth",
                "trust",
                "--no-sync",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
            ])
            .arg("--pgdata")
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        postgres.run();
        for database in databases {
            let sql = format!("CREATE DATABASE {database}");
            postgres.sql("postgres", &sql);
        }
        postgres
    }

    pub fn url(&self, database: &str) -> String {
        format!("host={} user=cqm dbname={database}", self.folder.display())
    }

    /// Starts again, on `host` beside the socket and over TLS with this certificate and key (PEM).
    pub fn speak_tls(&mut self, host: Ipv4Addr, (certified, secret): (String, String)) {
        let (certificate, key) = (self.folder.join("server.crt"), self.folder.join("server.key"));
        fs::write(&certificate, certified).expect("a certificate");
        fs::write(&key, secret).expect("a key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("our own file");
        if is_root() {
            std::os::unix::fs::chown(&key, Some(NOBODY), Some(NOBODY)).expect("root gives files away");
        }
        self.settings = vec![
            format!("listen_addresses={host}"),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", certificate.display()),
            format!("ssl_key_file={}", key.display()),
        ];
        self.crash_and_restart();
    }

    /// Starts again, and lets nobody in from the network whom this authority (PEM) does not vouch for.
    pub fn ask_for_certificates(&mut self, authority: &str) {
        let ca = self.folder.join("callers.crt");
        fs::write(&ca, authority).expect("an authority");
        let rules = "local all all trust\nhostssl all all all trust clientcert=verify-ca\n";
        fs::write(self.folder.join("data/pg_hba.conf"), rules).expect("who may come in");
        self.settings.push(format!("ssl_ca_file={}", ca.display()));
        self.crash_and_restart();
    }

    /// Starts again without TLS; the host stays.
    pub fn speak_plainly(&mut self) {
        self.settings.truncate(1);
        self.crash_and_restart();
    }

    /// Runs SQL as the suite's own role and returns what it prints, unaligned and without headers.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let ran =
            self.command("psql").args(["-X", "-q", "-A", "-t", "-c", sql, &self.url(database)]).output();
        let ran = ran.expect("psql runs");
        assert!(ran.status.success(), "{sql}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("psql prints text")
    }

    /// Everything that a database holds, bytes in hexadecimal.
    pub fn dump(&self, database: &str) -> String {
        let dumped = self.command("pg_dump").args(["--data-only", "--dbname", &self.url(database)]).output();
        let dumped = dumped.expect("pg_dump runs");
        assert!(dumped.status.success(), "pg_dump: {}", String::from_utf8_lossy(&dumped.stderr));
        String::from_utf8(dumped.stdout).expect("pg_dump prints text")
    }

    /// Stops without a checkpoint, as a crash would, and starts again.
    pub fn crash_and_restart(&mut self) {
        self.crash();
        self.run();
    }

    /// Stops without a checkpoint, as a crash would.
    pub fn crash(&mut self) {
        let mut server = self.server.take().expect("it runs");
        // SIGQUIT is Postgres' immediate shutdown.
        let told =
            Command::new("kill").args(["-QUIT", &server.id().to_string()]).status().expect("kill runs");
        assert!(told.success());
        server.wait().expect("Postgres ends");
    }

    /// Starts and waits until it answers.
    pub fn run(&mut self) {
        let server = self
            .command("postgres")
            .arg("-D")
            .arg(self.folder.join("data"))
            .arg("-k")
            .arg(&self.folder)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=300"])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.folder.join("log")).expect("a log"))
            .spawn()
            .expect("postgres runs");
        self.server = Some(server);
        let give_up = Instant::now() + Duration::from_secs(60);
        while !self
            .command("pg_isready")
            .args(["-h"])
            .arg(&self.folder)
            .stdout(Stdio::null())
            .status()
            .expect("pg_isready runs")
            .success()
        {
            assert!(Instant::now() < give_up, "Postgres does not come up: {}", self.folder.display());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir("/").env("LC_ALL", "C");
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = Command::new("kill").args(["-QUIT", &server.id().to_string()]).status();
            let _ = server.wait();
        }
    }
}

/// A Redis on a unix socket, for a cache and nothing else.
pub struct Redis {
    program: PathBuf,
    socket: PathBuf,
    server: Option<Child>,
}

impl Redis {
    pub fn start(folder: &Path) -> Self {
        let mut redis = Self {
            program: PathBuf::from(environment("CQM_TEST_REDIS_BIN")),
            socket: folder.join("redis.sock"),
            server: None,
        };
        redis.run();
        redis
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// Kills it, what it knew with it, and starts an empty one.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.run();
    }

    /// Kills it, what it knew with it.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("it runs");
        server.kill().expect("a process that runs can be killed");
        server.wait().expect("Redis ends");
    }

    /// Starts an empty one.
    pub fn run(&mut self) {
        let _ = fs::remove_file(&self.socket);
        let server = Command::new(&self.program)
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&self.socket)
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server runs");
        self.server = Some(server);
        let give_up = Instant::now() + Duration::from_secs(10);
        while std::os::unix::net::UnixStream::connect(&self.socket).is_err() {
            assert!(Instant::now() < give_up, "Redis does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// A folder that Postgres' user can reach, gone with the test.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("cqm-").tempdir_in("/tmp").expect("a folder below /tmp");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("our own folder");
    folder
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
