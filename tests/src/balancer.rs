//! What stands before several processes of one kind that share an address: it deals connections out and reads nothing of
//! them, as a cluster's own services do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use cqm_runtime::tasks::detached;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// See the module. Connections stay where they are when the targets change.
pub struct Balancer {
    address: SocketAddr,
    targets: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Balancer {
    pub async fn before(targets: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let targets = Arc::new(Mutex::new(targets));
        let known = Arc::clone(&targets);
        detached(async move {
            for turn in 0.. {
                let Ok((client, _)) = listener.accept().await else { return };
                let mut order = known.lock().expect("nobody panics with it").clone();
                let count = order.len().max(1);
                order.rotate_left(turn % count);
                detached(pass(client, order));
            }
        });
        Self { address, targets }
    }

    /// Where callers call.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who gets new connections from now on.
    pub fn set(&self, targets: Vec<SocketAddr>) {
        *self.targets.lock().expect("nobody panics with it") = targets;
    }
}

/// Joins the caller with the first target that takes the connection; without one, the caller is hung up on.
async fn pass(mut client: TcpStream, order: Vec<SocketAddr>) {
    for target in order {
        if let Ok(mut server) = TcpStream::connect(target).await {
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            // Whichever side breaks off, the other one learns it.
            let _ = copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
