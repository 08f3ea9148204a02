//! The suite as separate processes, which may be killed at any moment.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::{Postgres, Redis, SERVICES, binary, servers};

/// Five services, a gateway and two coordinators over one Postgres and one Redis.
pub struct Cluster {
    pub postgres: Postgres,
    pub redis: Redis,
    processes: BTreeMap<String, Process>,
    gateway: String,
    // Last: the processes that use it are gone by then.
    folder: tempfile::TempDir,
}

/// One process of the suite, started again under the same configuration.
pub struct Process {
    program: PathBuf,
    command: String,
    configuration: PathBuf,
    log: PathBuf,
    /// Where its admin port is.
    admin: String,
    child: Option<Child>,
}

impl Cluster {
    /// Migrates and starts everything; returns without waiting for it to serve.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// As [`Cluster::start`], with more TOML for every process.
    pub fn start_with(more: &str) -> Self {
        let folder = servers::folder();
        let databases = SERVICES.map(|(_, database)| database);
        let postgres = Postgres::start(folder.path(), &databases);
        let redis = Redis::start(folder.path());
        let keys = folder.path().join("keys");
        run(Command::new(binary("cqm")).arg("dev-keys").arg(&keys));

        let mut processes = BTreeMap::new();
        let mut backends = String::new();
        let mut addresses = Addresses::draw();
        for (service, database) in SERVICES {
            let listen = addresses.another();
            backends.push_str(&format!("{} = \"http://{listen}\"\n", service.replace('-', "_")));
            let site =
                Site { folder: folder.path(), pass_keys: &keys.join("pass-keys.pem"), redis: &redis, more };
            let configuration = site.service(service, &listen, "0s", &postgres.url(database));
            let program = binary(&format!("cqm-{service}"));
            let process =
                Process::new(folder.path(), service, program, "serve", &configuration, addresses.another());
            process.migrate();
            processes.insert(service.to_owned(), process);
        }
        let gateway = addresses.another();
        let configuration = gateway_configuration(&keys, &gateway, "0s", &backends, more);
        let admin = addresses.another();
        let serve =
            Process::new(folder.path(), "gateway", binary("cqm-gateway"), "serve", &configuration, admin);
        processes.insert("gateway".to_owned(), serve);
        for name in ["coordinator-1", "coordinator-2"] {
            let configuration = configuration.replace(&gateway, &addresses.another());
            // Its reader is called what the process is called.
            let configuration = format!("{configuration}[service.coordinator]\nreader = \"{name}\"\n");
            let admin = addresses.another();
            let process =
                Process::new(folder.path(), name, binary("cqm-gateway"), "coordinate", &configuration, admin);
            processes.insert(name.to_owned(), process);
        }
        let mut cluster = Self { postgres, redis, processes, gateway, folder };
        for process in cluster.processes.values_mut() {
            process.start();
        }
        cluster
    }

    /// Where callers call.
    pub fn address(&self) -> &str {
        &self.gateway
    }

    /// The key that signs tokens which the gateway takes.
    pub fn signing_key(&self) -> PathBuf {
        self.folder.path().join("keys/signing.pem")
    }

    /// A token as a developer gets it.
    pub fn token(&self, role: &str) -> String {
        token(role, &self.signing_key())
    }

    /// Where `/metrics` and health of a process are.
    pub fn admin(&self, name: &str) -> &str {
        &self.processes[name].admin
    }

    pub fn names(&self) -> Vec<String> {
        self.processes.keys().cloned().collect()
    }

    /// kill -9 of every coordinator, `meanwhile`, and a new start.
    pub fn without_coordinators(&mut self, meanwhile: impl FnOnce(&Self)) {
        let names: Vec<String> =
            self.names().into_iter().filter(|name| name.starts_with("coordinator")).collect();
        for name in &names {
            self.processes.get_mut(name).expect("a process of the cluster").kill();
        }
        meanwhile(self);
        for name in &names {
            self.processes.get_mut(name).expect("a process of the cluster").start();
        }
    }

    /// kill -9.
    pub fn kill(&mut self, name: &str) {
        self.processes.get_mut(name).expect("a process of the cluster").kill();
    }

    /// Asks to stop, as an orchestrator does, and returns when the process has ended.
    pub fn terminate(&mut self, name: &str) {
        self.processes.get_mut(name).expect("a process of the cluster").terminate();
    }

    /// Starts what was stopped.
    pub fn restart(&mut self, name: &str) {
        self.processes.get_mut(name).expect("a process of the cluster").start();
    }

    /// kill -9, and a new start at once.
    pub fn kill_and_restart(&mut self, name: &str) {
        let process = self.processes.get_mut(name).expect("a process of the cluster");
        process.kill();
        process.start();
    }

    /// Starts what has ended by itself, and says so: nothing should.
    pub fn ended(&mut self) -> Vec<String> {
        let mut ended = Vec::new();
        for (name, process) in &mut self.processes {
            if let Some(child) = &mut process.child
                && let Ok(Some(status)) = child.try_wait()
            {
                ended.push(format!("{name}: {status}, its log: {}", process.tail()));
            }
        }
        ended
    }

    /// Everything that all processes have logged.
    pub fn logs(&self) -> String {
        self.processes.values().map(|process| fs::read_to_string(&process.log).unwrap_or_default()).collect()
    }

    /// Where the notifications service puts its mails.
    pub fn mailbox(&self) -> PathBuf {
        self.folder.path().join("mail")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the end of {}\n{}", self.log.display(), self.tail());
        }
    }
}

impl Process {
    /// Not started yet. `name`: of its files in the folder.
    pub fn new(
        folder: &Path,
        name: &str,
        program: PathBuf,
        command: &str,
        configuration: &str,
        admin: String,
    ) -> Self {
        let path = folder.join(format!("{name}.toml"));
        fs::write(&path, configuration).expect("a configuration file");
        Self {
            program,
            command: command.to_owned(),
            configuration: path,
            log: folder.join(format!("{name}.log")),
            admin,
            child: None,
        }
    }

    /// Gives its database the tables that the program knows.
    pub fn migrate(&self) {
        run(Command::new(&self.program).arg("migrate").env("CQM_CONFIG", &self.configuration));
    }

    /// Another version of the program, from the next start on.
    pub fn becomes(&mut self, program: PathBuf) {
        self.program = program;
    }

    pub fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("a log file");
        let child = Command::new(&self.program)
            .arg(&self.command)
            .env("CQM_CONFIG", &self.configuration)
            .env("CQM__TELEMETRY__LISTEN", &self.admin)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        self.child = Some(child);
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("a child can be asked"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where `/metrics` and its health are.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Lets it drain and waits for its end.
    pub fn terminate(&mut self) {
        if let Some(mut child) = self.child.take() {
            let told = Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
            assert!(told.success());
            child.wait().expect("the process ends");
        }
    }

    pub fn tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// What the services of a test share.
pub struct Site<'a> {
    pub folder: &'a Path,
    /// The public keys of passes.
    pub pass_keys: &'a Path,
    pub redis: &'a Redis,
    /// More TOML for every process.
    pub more: &'a str,
}

impl Site<'_> {
    /// The configuration of one process of a service. `settle`: how long its drain leaves others the time to hear of it.
    pub fn service(&self, service: &str, listen: &str, settle: &str, database_url: &str) -> String {
        format!(
            "[server]\nlisten = \"{listen}\"\nplaintext = true\nshards = 1\n\
             [server.drain]\nsettle = \"{settle}\"\n\
             [passes]\nkeys = \"{}\"\n\
             [database]\nurl = \"{database_url}\"\n\
             [cache]\nredis_url = \"{}\"\nkey = \"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\"\n\
             {}\n[service]\n{}",
            self.pass_keys.display(),
            self.redis.url(),
            self.more,
            own_section(service, self.folder),
        )
    }
}

/// The configuration of one gateway, whose keys `cqm dev-keys` has put into a folder. `backends`: the lines of that section;
/// `settle`: how long its drain leaves others the time to hear of it; `more`: further sections.
pub fn gateway_configuration(keys: &Path, listen: &str, settle: &str, backends: &str, more: &str) -> String {
    format!(
        "[server]\nlisten = \"{listen}\"\nplaintext = true\nshards = 1\n[server.drain]\nsettle = \"{settle}\"\n\
         [service.backends]\n{backends}\
         [service.identity.issuers.dev]\nissuer = \"cqm-development\"\naudience = \"cqm\"\n\
         internal_service = true\njwks = \"{}\"\n\
         [service.passes]\nkey = \"{}\"\n{more}\n",
        keys.join("jwks.json").display(),
        keys.join("pass-signing.pem").display(),
    )
}

/// What a service has to be told besides the common sections.
fn own_section(service: &str, folder: &Path) -> String {
    match service {
        "surveys" => "public_url = \"https://answers.example.com/\"\n\
                      token_keys = [\"a-key-of-the-tests-and-of-nobody-else\"]\n"
            .to_owned(),
        "customer-data" => "report_keys = [\"a-key-of-the-tests-and-of-nobody-else\"]\n".to_owned(),
        "loyalty" => "voucher_keys = [\"a-key-of-the-tests-and-of-nobody-else\"]\n".to_owned(),
        "notifications" => {
            let mail = folder.join("mail");
            fs::create_dir_all(&mail).expect("a folder for mails");
            format!("mailbox = \"{}\"\n", mail.display())
        }
        _ => String::new(),
    }
}

/// A token that is signed with this key.
pub(crate) fn token(role: &str, key: &Path) -> String {
    let printed = Command::new(binary("cqm"))
        .args(["token", "--role", role, "--key"])
        .arg(key)
        .output()
        .expect("cqm runs");
    assert!(printed.status.success(), "cqm token: {}", String::from_utf8_lossy(&printed.stderr));
    String::from_utf8(printed.stdout).expect("a token is text").trim().to_owned()
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().expect("the binary runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Addresses of one cluster: a loopback host of its own, so that no other cluster and no outgoing connection of
/// anybody ever has one of its ports while a process of it is down.
pub struct Addresses {
    host: Ipv4Addr,
    next: u16,
}

impl Addresses {
    pub fn draw() -> Self {
        // 127.0.x.x is where everybody else is.
        let [a, b, c]: [u8; 3] = rand::random();
        Self { host: Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254)), next: 50051 }
    }

    pub fn another(&mut self) -> String {
        let address = format!("{}:{}", self.host, self.next);
        self.next += 1;
        address
    }
}
